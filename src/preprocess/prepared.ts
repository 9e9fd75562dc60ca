import type { PreparedPicture } from '../native.js'

/** An item after tokenizing and picture preparation: ready to be packed into a batch. */
export interface PreparedItem {
  /** the assembled prompt, placeholders not expanded */
  prompt: string
  /** (T) token ids, placeholders expanded */
  tokens: Int32Array
  /** (3, T) rotary positions */
  positions: Int32Array
  /** pictures and videos in order of their placeholders */
  visuals: PreparedVisual[]
  /** what the item adds to a batch, where that is not its tokens */
  rows?: number
  /** equal for items of the same prompt and the same picture bytes (SHA-256, hex) */
  contentKey: string
  /** equal only for items of the same tokens and pixels: augmented pictures are others each time */
  inputKey: string
}

export interface PreparedVisual extends PreparedPicture {
  kind: 'image' | 'video'
  /** of what the pixels were made from: visuals of the same pixels have the same key */
  key: string
  /** features that the tower makes of it; one stands at each of its tokens */
  features: number
  /** of models with separators: what stands at each of its tokens (Batch.featureRows), counted from its own first feature */
  featureRows?: Int32Array
  /** height and width, of tiled pictures, as the model's own processor reports them */
  imageSize?: [number, number]
}
