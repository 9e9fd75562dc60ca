/** What a model is given. */

/** Sequences of tokens and pictures, packed: no padding, no mask. B sequences, T tokens, P patches, I pictures or videos. */
export interface Batch {
  /** (T) token ids, placeholders expanded */
  tokens: Int32Array
  /** (B + 1) first token of each sequence, and T */
  seqStarts: Int32Array
  /** (3, T) rotary positions: time, height, width */
  positions: Int32Array
  /** (I) normalised patches of each picture or video, (its patches, PD), in order of their placeholders in `tokens` */
  patches: Float32Array[]
  /** (I, 3) patches in time, height and width of each picture or video */
  grids: Int32Array
  /**
   * (N) what stands at each placeholder: >= 0 a feature of the batch's pictures, then of known ones (`ChunkPlace.known`);
   * -1, -2, ... a learned separator of the model. Needed for models with separators (`VisionConfig.separators`), and where a
   * picture stands at several places or is known; elsewhere features follow each other.
   */
  featureRows?: Int32Array
}
