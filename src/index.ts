/** The public API. */
export { Vlm2VecError, type ErrorCode } from './errors.js'
export { Embedder, type EmbedderOptions, type StreamOptions, type Vectors } from './model/embedder.js'
export { contrastiveLoss, type ContrastiveLoss, type ContrastiveLossOptions } from './loss.js'
export type { ImageSource, Item, Video } from './data/item.js'
export type { DType } from './native.js'
