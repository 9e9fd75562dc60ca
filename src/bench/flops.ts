/** Floating point operations that a model's mathematics needs for given items, a multiply-add being two. */
import type { ModelConfig } from '../model/config.js'
import type { LinearModule } from '../native.js'
import type { PreparedItem } from '../preprocess/prepared.js'

export interface ModelFlops {
  vision: number
  /** linear layers and attention of the text model */
  text: number
  textAttention: number
}

/** One forward pass. What an implementation leaves out (the last layer's unpooled tokens) is counted all the same. */
export function forwardFlops(
  config: ModelConfig,
  modules: readonly LinearModule[],
  items: readonly PreparedItem[]
): ModelFlops {
  const parameters = { vision: 0, merger: 0, text: 0 }
  for (const { part, inFeatures, outFeatures } of modules) parameters[part] += inFeatures * outFeatures
  const lengths = items.map(({ tokens }) => tokens.length)
  const slices = items.flatMap(({ visuals }) =>
    visuals.flatMap(({ grid: [t, h, w] }) => Array.from({ length: t }, () => h * w))
  )
  const { text, vision } = config
  const patches = sum(slices)
  const textAttention = 4 * text.headSize * text.heads * text.layers * sum(lengths.map((n) => (n * (n + 1)) / 2))
  const visionAttention = vision ? 4 * vision.embedDim * vision.depth * sum(slices.map((n) => n * n)) : 0
  const merged = vision ? patches / vision.mergeSize ** 2 : 0
  return {
    vision: 2 * (parameters.vision * patches + parameters.merger * merged) + visionAttention,
    text: 2 * parameters.text * sum(lengths) + textAttention,
    textAttention
  }
}

/**
 * A GradCache step on an adapter of the text model: forward twice, and the gradients of activations and adapters. The frozen
 * vision tower is passed once.
 */
export function loraStepFlops(
  flops: ModelFlops,
  tokens: number,
  rank: number,
  modules: readonly LinearModule[]
): number {
  const widths = sum(modules.map(({ inFeatures, outFeatures }) => inFeatures + outFeatures))
  const linear = flops.text - flops.textAttention
  return flops.vision + 3 * linear + (2 + 2.5) * flops.textAttention + 8 * rank * widths * tokens
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
