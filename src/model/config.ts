/**
 * What a model directory's config.json says, in one form for all its spellings. Every architecture has one reader here
 * and one parameter table in native/model/.
 */
export interface ModelConfig {
  family: 'qwen2_vl'
  text: {
    vocabSize: number
    hiddenSize: number
    intermediateSize: number
    layers: number
    heads: number
    kvHeads: number
    headSize: number
    rmsNormEps: number
    ropeTheta: number
    /** rotary frequencies that turn by time, height and width */
    mropeSection: [number, number, number]
    maxPositions: number
    tiedEmbeddings: boolean
  }
  vision: {
    depth: number
    embedDim: number
    heads: number
    intermediateSize: number
    inChannels: number
    patchSize: number
    temporalPatchSize: number
    mergeSize: number
    /** width of the features that enter the text model */
    outputSize: number
    activation: 'quick_gelu' | 'gelu' | 'gelu_pytorch_tanh' | 'silu'
  }
  tokens: { image: number; video: number; visionStart: number; visionEnd: number }
}
