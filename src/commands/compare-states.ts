/**
 * Compares what an item becomes here with what a Python user recorded (scripts/record-states.py), stage by stage in the order
 * of computing, so that "the results differ" becomes the first stage that does.
 */
import { TensorFile } from '../data/tensor-file.js'
import type { Embedder } from '../index.js'
import { Vlm2VecError } from '../errors.js'
import type { PreparedItem } from '../preprocess/prepared.js'

export interface StageDifference {
  stage: string
  /** largest difference over the largest recorded number; of what must be equal, the share that is not */
  difference: number
  differs: boolean
  /** where, or what is there instead */
  detail: string
}

export interface ItemComparison {
  id: string
  stages: StageDifference[]
  /** the first stage that differs */
  first: StageDifference | null
}

export interface Comparable {
  id: string
  prepared: PreparedItem
  /** all patches, as `--dump` writes them */
  pixels: Float32Array | undefined
}

/** Ids of the items that a recording holds. E_DATA: it holds none. */
export function recordedIds(file: TensorFile): Set<string> {
  const ids = file.names.flatMap((name) => /^(.*)\.(prompt|input_ids|embedding)$/.exec(name)?.[1] ?? [])
  if (ids.length === 0)
    throw new Vlm2VecError(
      'E_DATA',
      `${file.path}: no tensor is called <id>.prompt, <id>.input_ids or <id>.embedding; record it with scripts/record-states.py.`
    )
  return new Set(ids)
}

/** `tolerance`: of numbers, relative to the largest recorded one of the stage. Stages that were not recorded are left out. */
export async function compareItem(
  { id, prepared, pixels }: Comparable,
  { file, embedder, tolerance }: { file: TensorFile; embedder: Embedder; tolerance: number }
): Promise<ItemComparison> {
  const { embeddings, lastHidden, states } = await embedder.embedPrepared(prepared, { states: true })
  const recorded = (name: string): Promise<Float64Array | undefined> => file.numbers(`${id}.${name}`)
  const stages: StageDifference[] = []
  const add = (stage: StageDifference | undefined): void => void (stage && stages.push(stage))

  const prompt = await file.bytes(`${id}.prompt`)
  if (prompt) add(texts(prepared.prompt, prompt.toString('utf8')))
  const length = prepared.tokens.length
  const { image, video } = embedder.processor.config.tokens
  const isPlaceholder = (token: number): boolean => token === image || token === video || token < 0
  add(exact('ids', prepared.tokens, await recorded('input_ids'), 1, 'token'))
  add(exact('positions', ...aligned(prepared.positions, await recorded('positions'), length), length, 'position'))
  add(close('pixels', pixels ?? new Float32Array(0), await recorded('pixel_values'), tolerance))
  for (const { name, data } of states ?? []) {
    const theirs = await recorded(name)
    if (!theirs) continue
    if (name === 'layer.0') {
      for (const part of entering(data, theirs, { tokens: prepared.tokens, isPlaceholder, tolerance })) add(part)
    } else add(close(`layer ${name.split('.')[1]}`, data, theirs, tolerance, data.length / length))
  }
  add(close('last hidden state', lastHidden, await recorded('last_hidden'), tolerance, lastHidden.length / length))
  add(close('embedding', embeddings, await recorded('embedding'), tolerance))
  return { id, stages, first: stages.find(({ differs }) => differs) ?? null }
}

/** What enters the first layer: features of pictures where placeholders stand, embeddings of tokens elsewhere. */
function entering(
  ours: Float32Array,
  theirs: Float64Array,
  {
    tokens,
    isPlaceholder,
    tolerance
  }: { tokens: Int32Array; isPlaceholder: (id: number) => boolean; tolerance: number }
): (StageDifference | undefined)[] {
  const width = ours.length / tokens.length
  if (ours.length !== theirs.length) return [close('layer 0', ours, theirs, tolerance, width)]
  const part = (stage: string, wanted: boolean): StageDifference | undefined => {
    const places = Array.from(tokens.keys()).filter((t) => isPlaceholder(tokens[t]!) === wanted)
    if (places.length === 0) return undefined
    const rows = (values: ArrayLike<number>): Float64Array =>
      Float64Array.from({ length: places.length * width }, (_, i) => {
        return values[places[Math.floor(i / width)]! * width + (i % width)]!
      })
    return close(stage, rows(ours), rows(theirs), tolerance, width)
  }
  return [part('vision features', true), part('token embeddings', false)]
}

function texts(ours: string, theirs: string): StageDifference {
  let same = 0
  while (same < ours.length && ours[same] === theirs[same]) same++
  const differs = ours !== theirs
  const excerpt = (text: string): string => JSON.stringify(text.slice(Math.max(0, same - 10), same + 30))
  return {
    stage: 'prompt',
    difference: differs ? 1 : 0,
    differs,
    detail: differs ? `from character ${same} on: ${excerpt(ours)} here, ${excerpt(theirs)} recorded` : ''
  }
}

/** Positions of three axes against those of one, where all are equal here. */
function aligned(
  ours: Int32Array,
  theirs: Float64Array | undefined,
  length: number
): [Int32Array, Float64Array | undefined] {
  return [theirs?.length === length ? ours.subarray(0, length) : ours, theirs]
}

/** Numbers that must be equal; `row` of them belong to one place. */
function exact(
  stage: string,
  ours: Int32Array,
  theirs: Float64Array | undefined,
  row: number,
  unit: string
): StageDifference | undefined {
  if (!theirs) return undefined
  if (ours.length !== theirs.length) return otherCount(stage, ours.length / row, theirs.length / row, `${unit}s`)
  const wrong = Array.from(ours.keys()).filter((i) => ours[i] !== theirs[i])
  const at = wrong[0]
  return {
    stage,
    difference: wrong.length / Math.max(1, ours.length),
    differs: at !== undefined,
    detail:
      at === undefined ? '' : `${unit} ${at % (row === 1 ? Infinity : row)} is ${ours[at]} here, ${theirs[at]} recorded`
  }
}

/** Numbers that may differ by rounding; `row` of them belong to one token. */
function close(
  stage: string,
  ours: ArrayLike<number>,
  theirs: Float64Array | undefined,
  tolerance: number,
  row = 1
): StageDifference | undefined {
  if (!theirs) return undefined
  if (ours.length !== theirs.length)
    return otherCount(stage, ours.length / row, theirs.length / row, row === 1 ? 'numbers' : 'rows')
  let [largest, scale, at] = [0, 0, 0]
  for (let i = 0; i < theirs.length; i++) {
    scale = Math.max(scale, Math.abs(theirs[i]!))
    const difference = Math.abs(ours[i]! - theirs[i]!)
    // a NaN on one side is a difference too
    if (difference > largest || Number.isNaN(difference))
      [largest, at] = [Number.isNaN(difference) ? Infinity : difference, i]
  }
  const difference = scale > 0 ? largest / scale : largest
  const place = row === 1 ? `number ${at}` : `row ${Math.floor(at / row)}, number ${at % row}`
  return {
    stage,
    difference,
    differs: !(difference <= tolerance),
    detail: largest === 0 ? '' : `most at ${place}: ${ours[at]} here, ${theirs[at]} recorded`
  }
}

function otherCount(stage: string, ours: number, theirs: number, unit: string): StageDifference {
  return { stage, difference: Infinity, differs: true, detail: `${ours} ${unit} here, ${theirs} recorded` }
}

/** `1: the first difference is in layer 3: 2.1e-2 (most at ...)` */
export function comparisonText({ id, stages, first }: ItemComparison): string {
  const said = ({ difference, detail }: StageDifference): string =>
    [Number.isFinite(difference) ? difference.toExponential(1) : '', detail].filter(Boolean).join(', ')
  if (first) return `${id}: the first difference is in ${first.stage}: ${said(first)}`
  const worst = stages.reduce((a, b) => (b.difference > a.difference ? b : a), stages[0]!)
  return `${id}: no difference in ${stages.length} stages; the largest is in ${worst.stage}: ${said(worst)}`
}
