/**
 * What each preset says. Sources: VLM2Vec's code (release 1 and main) for its own, qwen3_vl_embedding.py of
 * Qwen3-VL-Embedding, gme_inference.py of GME.
 */
import type { ModelConfig } from './config.js'
import type { Preset, PresetName } from './preset.js'

type Values = Omit<Preset, 'preset'>

/** The area of a token of a picture in Qwen2-VL. */
const TOKEN = 28 * 28

/** Bare placeholders, one position a token, the last token's vector. */
const VLM2VEC: Values = { prompt: 'vlm2vec', positions: 'sequential', pooling: 'last', normalize: true }

const VALUES: { readonly [N in PresetName]: (family: ModelConfig['family']) => Values } = {
  // Phi-3.5-V cuts into 4 tiles; for the others every picture was first stretched to a square of 1344 pixels
  'vlm2vec-v1': (family) => {
    if (/^phi/.test(family)) return { ...VLM2VEC, numCrops: 4 }
    const square: Values = { ...VLM2VEC, firstSize: 1344 }
    return /^qwen/.test(family) ? { ...square, minPixels: 256 * TOKEN, maxPixels: 1280 * TOKEN } : square
  },
  'vlm2vec-v2': () => ({ ...VLM2VEC, firstSize: 'vlm2vec', minPixels: 4 * TOKEN, maxPixels: 1280 * TOKEN }),
  'qwen3-vl-embedding': () => ({
    prompt: 'chat',
    positions: 'mrope',
    instruction: "Represent the user's input.",
    instructionEnd: '.',
    emptyText: 'NULL',
    minPixels: 4096,
    maxPixels: 1800 * 32 * 32,
    maxLength: 8192,
    pooling: 'last',
    normalize: true
  }),
  gme: () => ({
    prompt: 'chat',
    positions: 'mrope',
    instruction: 'You are a helpful assistant.',
    suffix: '<|endoftext|>',
    firstSize: 'qwen',
    minPixels: 256 * TOKEN,
    maxPixels: 1280 * TOKEN,
    pooling: 'last',
    normalize: true
  }),
  plain: () => ({ prompt: 'raw', firstSize: 'none', pooling: 'last', normalize: true })
}

export const presetValues = (name: PresetName, family: ModelConfig['family']): Values => VALUES[name](family)

/** Whether the pixels of a picture that a preset says hold for the frames of videos too: VLM2Vec treats them alike. */
export const framesLikePictures = (name: PresetName): boolean => name.startsWith('vlm2vec') || name === 'gme'
