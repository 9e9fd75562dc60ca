/** The contrastive loss with its gradients, as a function of arrays. */
import { Vlm2VecError } from './errors.js'
import { native, type DType } from './native.js'
import { resolveDevice } from './device.js'

export interface ContrastiveLossOptions {
  /** numbers a row */
  dimension: number
  /** divides the similarities; default 0.02 */
  temperature?: number
  /** (B) each query's target; default i·N/B: every N/B-th target */
  positives?: Int32Array
  /** ids of queries (B) and targets (N): targets whose id equals the query's are left out, its positive aside */
  mask?: readonly [Int32Array, Int32Array]
  /** also from targets to queries, and the mean of both; default false */
  symmetric?: boolean
  /** false: only the loss; default true */
  gradients?: boolean
  /** 'bf16': products of numbers rounded to it, summed in f32, where the machine is faster at that; default 'f32' */
  dtype?: DType
  /** 'auto', 'cpu', 'cuda' or 'cuda:N' */
  device?: string
  /** CPU threads; 0: one a core */
  threads?: number
}

export interface ContrastiveLoss {
  /** mean over queries */
  loss: number
  dTemperature: number
  /** (B, dimension) */
  dQueries: Float32Array
  /** (N, dimension) */
  dTargets: Float32Array
}

/**
 * InfoNCE: mean over queries of the cross-entropy of their positive against all targets. Never stores B x N.
 *
 * @param queries (B, dimension) rows
 * @param targets (N, dimension) rows
 * @throws E_OPTION an option of the wrong kind; E_SHAPE sizes that do not fit each other
 * @example
 *   const { loss, dQueries } = await contrastiveLoss(queries, targets, { dimension: 1536 })
 */
export async function contrastiveLoss(
  queries: Float32Array,
  targets: Float32Array,
  options: ContrastiveLossOptions
): Promise<ContrastiveLoss> {
  const { dimension, temperature = 0.02, symmetric = false, gradients = true, dtype = 'f32', mask } = options
  if (!Number.isSafeInteger(dimension) || dimension < 1)
    throw wrongOption('a whole number of at least 1', 'dimension', dimension)
  if (!(Number.isFinite(temperature) && temperature > 0))
    throw wrongOption('a number above 0', 'temperature', temperature)
  if (dtype !== 'f32' && dtype !== 'bf16') throw wrongOption("'f32' or 'bf16'", 'dtype', dtype)
  if (typeof symmetric !== 'boolean') throw wrongOption('true or false', 'symmetric', symmetric)
  const B = rows(queries, 'queries', dimension)
  const N = rows(targets, 'targets', dimension)
  const positives = options.positives ?? defaultPositives(B, N)
  checkIds(positives, 'positives', B)
  const outside = positives.findIndex((target) => target < 0 || target >= N)
  if (outside >= 0)
    throw new Vlm2VecError(
      'E_SHAPE',
      `positives[${outside}] is ${positives[outside]}; targets count from 0 to ${N - 1}.`
    )
  const positiveStarts = Int32Array.from({ length: B + 1 }, (_, i) => i)
  const ids = mask && maskInput(mask, positiveStarts, { B, N })
  const device = { device: resolveDevice(options.device ?? 'auto'), threads: options.threads ?? 0 }
  const rowsAndOptions = { queries, targets, dimension, temperature, symmetric, gradients, dtype }
  const result = await native().contrastiveLoss({ ...rowsAndOptions, positiveStarts, positives, ...ids }, device)
  const none = new Float32Array(0)
  return { dQueries: none, dTargets: none, ...result }
}

function rows(values: Float32Array, name: string, dimension: number): number {
  if (!(values instanceof Float32Array)) throw wrongOption('a Float32Array', name, values)
  if (values.length === 0 || values.length % dimension !== 0)
    throw new Vlm2VecError(
      'E_SHAPE',
      `${name} holds ${values.length} numbers, which is not one row or more of ${dimension}.`
    )
  return values.length / dimension
}

function defaultPositives(B: number, N: number): Int32Array {
  if (N % B !== 0)
    throw new Vlm2VecError(
      'E_SHAPE',
      `${N} targets are not a multiple of ${B} queries; give "positives", each query's target.`
    )
  return Int32Array.from({ length: B }, (_, i) => (i * N) / B)
}

function maskInput(mask: readonly [Int32Array, Int32Array], starts: Int32Array, { B, N }: { B: number; N: number }) {
  if (!Array.isArray(mask) || mask.length !== 2) throw wrongOption('a pair of Int32Arrays', 'mask', mask)
  const [queryIds, targetIds] = mask as [Int32Array, Int32Array]
  checkIds(queryIds, 'mask[0]', B)
  checkIds(targetIds, 'mask[1]', N)
  return { queryIdStarts: starts, queryIds, targetIds }
}

function checkIds(ids: Int32Array, name: string, length: number): void {
  if (!(ids instanceof Int32Array)) throw wrongOption('an Int32Array', name, ids)
  if (ids.length !== length)
    throw new Vlm2VecError('E_SHAPE', `${name} holds ${ids.length} numbers; ${length} are needed.`)
}

function wrongOption(expected: string, name: string, value: unknown): Vlm2VecError {
  const received =
    typeof value === 'object' && value !== null ? (value.constructor?.name ?? 'an object') : String(value)
  return new Vlm2VecError('E_OPTION', `Expected ${expected} for "${name}", received ${received}.`)
}
