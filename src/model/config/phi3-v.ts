/**
 * Phi-3-vision and Phi-3.5-vision: remote code of the hub, whose config.json says nothing of the tower but its name
 * (openai/clip-vit-large-patch14-336). Where a `vision_config` or `img_processor` has no sizes, the tensors' shapes tell.
 */
import { Fields } from '../../json-fields.js'
import { tensorShapes } from '../../data/safetensors.js'
import type { ModelConfig, VisionConfig } from '../config.js'
import { weightFiles } from '../directory.js'
import { readClipVision } from './clip-vision.js'
import { readDecoder } from './decoder.js'
import { readLongRope } from './long-rope.js'

export async function readPhi3V(root: Fields, directory: string): Promise<ModelConfig> {
  const text = readDecoder(root, 'phi3', root.boolean('tie_word_embeddings', false), (fields, sizes) =>
    readLongRope(fields, sizes, { yarn: true })
  )
  const vision = await readVision(root, directory, text.hiddenSize)
  return {
    family: 'phi3_v',
    text,
    vision,
    tokens: { image: -1, video: -1, visionStart: -1, visionEnd: -1, numbered: true }
  }
}

const LARGE = {
  hidden_size: 1024,
  intermediate_size: 4096,
  num_hidden_layers: 24,
  num_attention_heads: 16,
  image_size: 336,
  patch_size: 14
}
/** Patches a side that become one feature; fixed in the remote code. */
const MERGE = 2

async function readVision(root: Fields, directory: string, hiddenSize: number): Promise<VisionConfig> {
  const layer = root.nested('embd_layer')
  const image = root.nested('img_processor') ?? new Fields(root.file, {}, 'img_processor.')
  layer?.oneOf('projection_cls', ['mlp'], 'mlp')
  for (const key of ['use_hd_transform', 'with_learnable_separator'])
    if (layer && !layer.boolean(key, true)) throw layer.error(key, 'true')
  image.oneOf('type_feature', ['patch'], 'patch')
  const own = new Fields(root.file, { ...(await towerSizes(root, image, directory)) }, 'vision_config.')
  const vision = readClipVision(own, { patchSize: 14, activation: 'quick_gelu', normEps: 1e-5, classToken: true })
  if (image.integer('image_dim_out', { default: vision.embedDim }) !== vision.embedDim)
    throw image.error('image_dim_out', `the width of the tower (${vision.embedDim})`)
  if (vision.imageSize! % (vision.patchSize * MERGE) !== 0)
    throw own.error('image_size', `a multiple of ${vision.patchSize * MERGE}`)
  const state = image.integer('layer_idx', { default: -2, min: -vision.depth - 1, max: vision.depth })
  return {
    kind: 'phi3',
    ...vision,
    mergeSize: MERGE,
    outputSize: hiddenSize,
    // state 0 is the embeddings', state n that after block n
    featureBlocks: state < 0 ? vision.depth + 1 + state : state,
    separators: 2,
    projectorBias: true,
    projectorActivation: 'gelu',
    tileOrder: layer?.oneOf('hd_transform_order', ['sub_glb', 'glb_sub'], 'sub_glb') ?? 'sub_glb'
  }
}

/** The keys of a CLIP `vision_config`: those that the file has, else what the weights show, else CLIP's large model. */
async function towerSizes(root: Fields, image: Fields, directory: string): Promise<Record<string, unknown>> {
  const nested = [root.nested('vision_config'), image.nested('vision_config'), image].filter(
    (each) => each !== undefined
  )
  const said = (key: string): unknown => nested.find((fields) => fields.has(key))?.raw(key)
  const keys = [...Object.keys(LARGE), 'hidden_act', 'layer_norm_eps']
  const given = Object.fromEntries(keys.flatMap((key) => (said(key) === undefined ? [] : [[key, said(key)]])))
  return Object.keys(LARGE).every((key) => key in given)
    ? given
    : { ...LARGE, ...(await sizesOfWeights(directory)), ...given }
}

/** What the shapes of a tower's tensors say. */
async function sizesOfWeights(directory: string): Promise<Record<string, number>> {
  const files = await weightFiles(directory).catch(() => [])
  const found: Record<string, number[]> = {}
  for (const file of files)
    for (const [name, shape] of Object.entries(await tensorShapes(file))) {
      const match = /img_processor\.(?:vision_model\.)?(.*)$/.exec(name)
      if (match) found[match[1]!] = shape
    }
  const patch = found['embeddings.patch_embedding.weight']
  const positions = found['embeddings.position_embedding.weight']
  const mlp = found['encoder.layers.0.mlp.fc1.weight']
  if (!patch || !positions || !mlp) return {}
  const [width, , side] = patch as [number, number, number]
  const blocks = Object.keys(found).map((name) => Number(/^encoder\.layers\.(\d+)\./.exec(name)?.[1] ?? -1))
  return {
    hidden_size: width,
    patch_size: side,
    image_size: Math.floor(Math.sqrt(positions[0]! - 1)) * side,
    intermediate_size: mlp[0]!,
    num_hidden_layers: Math.max(...blocks) + 1,
    // a shape says nothing of heads; those of CLIP have 64 numbers
    num_attention_heads: Math.max(1, Math.round(width / 64))
  }
}
