/** Inputs of random content: what is timed does not depend on what a picture shows. */
import { Vlm2VecError } from '../errors.js'
import type { ModelConfig } from '../model/config.js'
import type { PreparedItem, PreparedVisual } from '../preprocess/prepared.js'
import { featureCount } from '../preprocess/pictures.js'
import { inputRules, type VisualRun } from '../preprocess/rules.js'

/** Uniform numbers with variance 1 (xorshift32): not zeros, which some machines compute with faster. */
export function randomFloats(count: number, seed: number): Float32Array {
  const values = new Float32Array(count)
  const next = randomWords(seed)
  for (let i = 0; i < count; i++) values[i] = (next() / 2 ** 31 - 1) * 1.732
  return values
}

function randomWords(seed: number): () => number {
  let state = (seed * 0x9e3779b9 + 0x7f4a7c15) >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>>= 0)
  }
}

/** '32', or '16-512': lengths that are spread evenly over a range, in an order that is no order. */
export function lengthsOf(text: string, count: number): number[] {
  const [least, most = least] = text.split('-').map(Number) as [number, number?]
  const place = (i: number): number => ((i * 0.618033988749895) % 1) * (most! - least + 1)
  return Array.from({ length: count }, (_, i) => Math.min(most!, least + Math.floor(place(i))))
}

export interface RandomItem {
  /** tokens of text */
  length: number
  /** pixels a side; 0: no picture */
  side: number
  seed: number
}

/** A square picture, where there is one, and text after it. */
export function randomItem(config: ModelConfig, { length, side, seed }: RandomItem): PreparedItem {
  const pictures = side > 0 ? [randomPicture(config, side, seed)] : []
  const placeholders = pictures[0]?.features ?? 0
  const tokens = new Int32Array(placeholders + length).fill(config.tokens.image)
  const next = randomWords(seed + 1)
  const special = new Set(Object.values(config.tokens))
  for (let i = placeholders; i < tokens.length; i++)
    do tokens[i] = next() % config.text.vocabSize
    while (special.has(tokens[i]!))
  const runs: VisualRun[] = pictures.map(({ grid }) => ({ kind: 'image', start: 0, grid }))
  return {
    prompt: '',
    tokens,
    positions: inputRules(config).positions(tokens, runs, 'mrope'),
    visuals: pictures,
    contentKey: `random ${seed}`,
    inputKey: `random ${seed}`
  }
}

/** With these, the values of random bytes have variance 1. */
const HALF = [0.5, 0.5, 0.5] as const
const UNIFORM = [0.2898, 0.2898, 0.2898] as const

function randomPicture({ family, vision }: ModelConfig, side: number, seed: number): PreparedVisual {
  if (!vision) throw new Vlm2VecError('E_OPTION', `A ${family} model takes text only: --case image=0.`)
  const { patchSize, mergeSize, temporalPatchSize } = vision
  const patches = Math.max(1, Math.round(side / (patchSize * mergeSize))) * mergeSize
  const grid: [number, number, number] = [1, patches, patches]
  const next = randomWords(seed)
  const pixels = new Uint8Array(3 * (patches * patchSize) ** 2).map(() => next() >>> 24)
  const layout = { patchSize, mergeSize, temporalPatchSize, mean: HALF, std: UNIFORM }
  return { kind: 'image', key: `random ${seed}`, grid, pixels, layout, features: featureCount(grid, vision) }
}
