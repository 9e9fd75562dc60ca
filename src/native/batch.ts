/** What a model is given. */
import type { PreparedPicture } from './images.js'

/** Sequences of tokens and pictures, packed: no padding, no mask. B sequences, T tokens, I pictures or videos. */
export interface Batch {
  /** (T) token ids, placeholders expanded */
  tokens: Int32Array
  /** (B + 1) first token of each sequence, and T */
  seqStarts: Int32Array
  /** (3, T) rotary positions: time, height, width */
  positions: Int32Array
  /** (I) in order of their placeholders in `tokens` */
  pictures: readonly PreparedPicture[]
  /**
   * (N) what stands at each placeholder: >= 0 a feature of the batch's pictures, then of known ones (`ChunkPlace.known`);
   * -1, -2, ... a learned separator of the model. Needed for models with separators (`VisionConfig.separators`), and where a
   * picture stands at several places or is known; elsewhere features follow each other.
   */
  featureRows?: Int32Array
}
