/** Dual encoders: every picture becomes one square and one vector (transformers' CLIPImageProcessor, SiglipImageProcessor). */
import type { PictureConfig } from '../../model/config.js'
import { placePicture } from '../fit.js'
import { onePosition } from '../positions.js'
import type { ImageDefaults, InputRules } from '../rules.js'

const ANY = { minPixels: 1, maxPixels: 2 ** 31 }

const CLIP: ImageDefaults = {
  image: ANY,
  video: ANY,
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
  fit: { crop: true }
}

const SIGLIP: ImageDefaults = { ...CLIP, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], fit: { crop: false } }

function dualRules({ vision }: PictureConfig, defaults: ImageDefaults): InputRules {
  // a convolution leaves out what is no whole patch
  const patches = Math.floor(vision.imageSize! / vision.patchSize)
  const side = patches * vision.patchSize
  return {
    defaults,
    size: (picture, { fit }) => ({
      width: side,
      height: side,
      grid: [1, patches, patches],
      placed: placePicture(picture, fit!)
    }),
    parts: (_, grid) => [grid],
    tokenCount: () => 1,
    positions: onePosition
  }
}

export const clipRules = (config: PictureConfig): InputRules => dualRules(config, CLIP)
export const siglipRules = (config: PictureConfig): InputRules => dualRules(config, SIGLIP)
