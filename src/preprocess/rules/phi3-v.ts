/** Phi-3-vision and Phi-3.5-vision (remote code of the hub: Phi3VImageProcessor, Phi3VProcessor). */
import type { PictureConfig } from '../../model/config.js'
import { hdPicture, hdRows } from '../hd-crops.js'
import { onePosition } from '../positions.js'
import type { ImageDefaults, InputRules } from '../rules.js'
import { tileCount } from '../tiles.js'

const ANY = { minPixels: 1, maxPixels: 2 ** 31 }

const DEFAULTS: ImageDefaults = {
  image: ANY,
  video: ANY,
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
  filter: 'bilinear',
  numCrops: 4
}

/** Stands for the next picture while a prompt is put together: placeholders are numbered text, not tokens. */
const ANY_PICTURE = '<|image_#|>'

export function phi3VRules({ vision }: PictureConfig): InputRules {
  const tile = vision.imageSize!
  const side = tile / vision.patchSize
  return {
    defaults: DEFAULTS,
    imagePlaceholder: ANY_PICTURE,
    async tokenize(prompt, order, encode) {
      const chunks = prompt.split(ANY_PICTURE)
      const ids: number[] = []
      let text = ''
      for (const [index, chunk] of chunks.entries()) {
        // every chunk is a text of its own, beginning and all
        ids.push(...(await encode(chunk)))
        text += chunk
        if (index === chunks.length - 1) break
        const number = order[index]! + 1
        ids.push(-number)
        text += `<|image_${number}|>`
      }
      return { text, ids: Int32Array.from(ids) }
    },
    size(picture, { numCrops }, where) {
      const tiled = hdPicture(picture, { crops: numCrops!, tile }, where)
      return {
        ...tiled.canvas,
        imageSize: [tiled.canvas.height, tiled.canvas.width],
        grid: [tileCount(tiled), side, side],
        tiled,
        featureRows: hdRows(tiled, side / vision.mergeSize, vision.tileOrder)
      }
    },
    parts: (_, grid) => [grid],
    tokenCount: ([t, h, w]) => (t * h * w) / vision.mergeSize ** 2,
    positions: onePosition
  }
}
