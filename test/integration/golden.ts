/** The golden data of test/golden, the command line in this process, and the files that both read and write. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { StepMetrics } from '../../src/train/metrics-log.js'
import { runCli } from './run-cli.js'

export { temporaryFolder } from '../temporary-folder.js'

/** What transformers 5.18 makes of an item of Qwen's families (test/golden/README.md). */
export interface RecordedInput {
  id: string
  prompt: string
  input_ids: number[]
  mrope: number[][]
  sequential: number[][]
  grids: number[][]
  resized_sha256: string
  pixel_values: number[][]
}

/** What `inspect` says of one. */
export interface Inspected {
  id: string
  prompt: string
  input_ids: number[]
  positions: number[][]
  grids?: number[][]
}

export const golden = (...path: string[]): string => join(fileURLToPath(new URL('../golden', import.meta.url)), ...path)

/** Runs a command as a user does; throws where it fails. Returns the lines of stdout. */
export async function command(...argv: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await runCli(argv)
  if (code !== 0) throw new Error(`${argv.join(' ')}: exit code ${code}\n${stderr}`)
  return stdout.split('\n').filter(Boolean)
}

/** The vectors that `embed` with these flags gives. `folder`: for its file. */
export async function embedRows(folder: string, ...flags: string[]): Promise<Float32Array[]> {
  const output = join(folder, 'embeddings.npy')
  await command('embed', ...flags, '--output', output)
  return readNpy(output)
}

export function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(path, 'utf8')) as T
}

/** Some keys of a JSON file by other values. */
export function changeJson(path: string, changes: object): void {
  writeFileSync(path, JSON.stringify({ ...readJson<object>(path), ...changes }))
}

export function readJsonl<T>(path: string): T[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as T)
}

/** What a run directory holds of each step. */
export const metricsOf = (...run: string[]): StepMetrics[] => readJsonl(join(...run, 'metrics.jsonl'))

// ---- vectors ---------------------------------------------------------------------------------------------------------

/** Rows of a float32 .npy file. */
export function readNpy(path: string): Float32Array[] {
  const bytes = readFileSync(path)
  const header = bytes.toString('latin1', 10, 10 + bytes.readUInt16LE(8))
  const [count, dimension] = /'shape': \((\d+), (\d+)\)/.exec(header)!.slice(1).map(Number) as [number, number]
  const data = new Float32Array(new Uint8Array(bytes.subarray(10 + bytes.readUInt16LE(8))).buffer)
  if (!header.includes("'<f4'") || data.length !== count * dimension) throw new Error(`${path}: ${header}`)
  return Array.from({ length: count }, (_, i) => data.subarray(i * dimension, (i + 1) * dimension))
}

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`lengths differ: ${a.length} and ${b.length}`)
  let largest = 0
  // A NaN fails every comparison, so it must not look like a small difference.
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i]! - b[i]!))
  return Number.isNaN(largest) ? Infinity : largest
}

export function norm(values: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!
  return Math.sqrt(sum)
}

/** 1 - cosine; exact also where it is tiny. */
export function cosineDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const [na, nb] = [norm(a), norm(b)]
  return norm(Array.from(a, (value, i) => value / na - b[i]! / nb)) ** 2 / 2
}

// ---- safetensors -----------------------------------------------------------------------------------------------------

export interface StoredTensor {
  dtype: string
  shape: number[]
  bytes: Uint8Array
}

export function readTensors(path: string): Map<string, StoredTensor> {
  const file = readFileSync(path)
  const start = 8 + Number(file.readBigUInt64LE())
  const header = JSON.parse(file.toString('utf8', 8, start)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >
  const entries = Object.entries(header).filter(([name]) => name !== '__metadata__')
  return new Map(
    entries.map(([name, { dtype, shape, data_offsets }]) => {
      const bytes = new Uint8Array(file.subarray(start + data_offsets[0], start + data_offsets[1]))
      return [name, { dtype, shape, bytes }]
    })
  )
}

/** The tensor that `inspect --dump` gives a name, and of the further pictures of the item `name.1`, `name.2`, ... */
export function partsOf(tensors: Map<string, StoredTensor>, name: string): StoredTensor[] {
  const parts: StoredTensor[] = []
  for (let part = tensors.get(name); part; part = tensors.get(`${name}.${parts.length}`)) parts.push(part)
  if (parts.length === 0) throw new Error(`no tensor ${name} among ${[...tensors.keys()].join(', ')}`)
  return parts
}

export function writeTensors(path: string, tensors: Map<string, StoredTensor>): void {
  const header: Record<string, unknown> = {}
  let end = 0
  for (const [name, { dtype, shape, bytes }] of tensors)
    header[name] = { dtype, shape, data_offsets: [end, (end += bytes.length)] }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(path, Buffer.concat([length, text, ...[...tensors.values()].map(({ bytes }) => bytes)]))
}

export function floats({ dtype, bytes }: StoredTensor): Float32Array {
  if (dtype === 'F32') return new Float32Array(bytes.buffer)
  if (dtype !== 'BF16') throw new Error(`not expected here: ${dtype}`)
  return new Float32Array(Uint32Array.from(new Uint16Array(bytes.buffer), (half) => half << 16).buffer)
}

export function fromFloats(values: Float32Array, shape: number[], dtype: 'F32' | 'F16'): StoredTensor {
  if (dtype === 'F32') return { dtype, shape, bytes: new Uint8Array(values.buffer) }
  return { dtype, shape, bytes: new Uint8Array(Uint16Array.from(values, toHalf).buffer) }
}

/** float16 bits of a number that float16 holds exactly. */
function toHalf(value: number): number {
  if (value === 0) return 0
  const exponent = Math.floor(Math.log2(Math.abs(value)))
  const mantissa = (Math.abs(value) / 2 ** exponent - 1) * 1024
  if (exponent < -14 || exponent > 15 || !Number.isInteger(mantissa)) throw new Error(`${value} is no float16`)
  return (value < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | mantissa
}

// ---- gradients -------------------------------------------------------------------------------------------------------

/** ||a - b|| / ||b||, and ||a - b|| as a share of `all`. */
export function deviation(a: Float32Array, b: Float32Array, all: number): { own: number; ofAll: number } {
  if (a.length !== b.length) throw new Error(`lengths differ: ${a.length} and ${b.length}`)
  const difference = norm(Float32Array.from(a, (value, i) => value - b[i]!))
  return { own: difference / norm(b), ofAll: difference / all }
}

export const totalNorm = (tensors: Map<string, StoredTensor>): number =>
  norm([...tensors.values()].map((tensor) => norm(floats(tensor))))

/** The two namings of a full model's tensors as one. */
const canonical = (name: string): string =>
  name.startsWith('base_model.')
    ? name
    : name.replace(/^visual\./, 'model.visual.').replace(/^model\.(?!visual|language_model)/, 'model.language_model.')

export const renamed = (tensors: Map<string, StoredTensor>): Map<string, StoredTensor> =>
  new Map([...tensors].map(([name, tensor]) => [canonical(name), tensor]))

/** Names of the gradients that are off by more than the bound. That of a key's bias is zero but for rounding. */
export function offGradients(ours: Map<string, StoredTensor>, theirs: Map<string, StoredTensor>): string[] {
  const all = totalNorm(theirs)
  return [...theirs].flatMap(([name, tensor]) => {
    const { own, ofAll } = deviation(floats(ours.get(name)!), floats(tensor), all)
    return own <= 1e-4 || ofAll <= 1e-6 ? [] : [`${name}: ${own}`]
  })
}
