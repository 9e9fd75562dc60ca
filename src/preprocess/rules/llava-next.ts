/** LLaVA-NeXT (transformers: LlavaNextImageProcessor, LlavaNextProcessor). */
import type { PictureConfig } from '../../model/config.js'
import { anyresPicture, anyresRows } from '../anyres.js'
import { onePosition } from '../positions.js'
import type { ImageDefaults, InputRules } from '../rules.js'
import { tileCount } from '../tiles.js'

const ANY = { minPixels: 1, maxPixels: 2 ** 31 }

const DEFAULTS: ImageDefaults = {
  image: ANY,
  video: ANY,
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
  fit: { crop: true, tiles: true }
}

export function llavaNextRules({ vision }: PictureConfig): InputRules {
  const tile = vision.imageSize!
  const side = tile / vision.patchSize
  return {
    defaults: DEFAULTS,
    processorConfig: {
      processor_class: 'LlavaNextProcessor',
      patch_size: vision.patchSize,
      num_additional_image_tokens: 1, // CLIP's class token
      vision_feature_select_strategy: 'default'
    },
    size({ width, height }) {
      const tiled = anyresPicture({ width, height }, { resolutions: vision.resolutions!, tile })
      return {
        ...tiled.canvas,
        imageSize: [height, width],
        grid: [tileCount(tiled), side, side],
        tiled,
        featureRows: anyresRows({ width, height }, tiled, side)
      }
    },
    parts: (_, grid) => [grid],
    tokenCount: ([t, h, w]) => t * h * w,
    positions: onePosition
  }
}
