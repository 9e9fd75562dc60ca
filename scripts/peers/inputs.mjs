/** Random weights and items, written once for all candidates: model/, and items.json beside items.bin. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { lengthsOf, randomItem } from '../../dist/bench/inputs.js'
import { DEFAULT_CONFIG } from '../../dist/bench/model.js'
import { readModelConfig } from '../../dist/model/config.js'
import { native } from '../../dist/native.js'

export async function writeInputs({ folder, config: source, items, lengths, image, pictures, threads, job }) {
  const model = join(folder, 'model')
  mkdirSync(model, { recursive: true })
  const text = source ? readFileSync(source, 'utf8') : JSON.stringify(DEFAULT_CONFIG)
  const path = join(model, 'config.json')
  const weights = join(model, 'model.safetensors')
  const same = existsSync(path) && readFileSync(path, 'utf8') === text && existsSync(weights)
  writeFileSync(path, text)
  const config = await readModelConfig(model)
  const device = { device: 'cpu', threads: Number(threads) }
  if (!same) await native().writeRandomModel({ config, path: weights, dtype: 'f32', seed: 1 }, device)
  const count = Number(items)
  const isPair = job === 'train'
  const list = lengthsOf(lengths, isPair ? 2 * count : count).map((length, i) => {
    const place = isPair ? i >> 1 : i
    const share = Number(pictures)
    const pictured = Math.floor((place + 1) * share) > Math.floor(place * share) && !(isPair && i % 2 === 1)
    return randomItem(config, { length, side: pictured ? Number(image) : 0, seed: i + 1 })
  })
  let at = 0
  const parts = []
  const put = (array) => {
    parts.push(Buffer.from(array.buffer, array.byteOffset, array.byteLength))
    at += array.byteLength
    return [at - array.byteLength, array.length]
  }
  const index = []
  for (const { tokens, positions, visuals } of list) {
    const patches = await Promise.all(visuals.map((visual) => native().patchify(visual)))
    index.push({
      tokens: put(tokens),
      positions: put(positions),
      visuals: visuals.map((visual, i) => ({ ...visual, patches: put(patches[i]), pixels: put(visual.pixels) }))
    })
  }
  writeFileSync(join(folder, 'items.json'), JSON.stringify(index))
  writeFileSync(join(folder, 'items.bin'), Buffer.concat(parts))
}

/** The items as `embed` and `train` have them after preparation; with `patches` too, for candidates that begin from these. */
export function readInputs(folder, { patches = false } = {}) {
  const bytes = readFileSync(join(folder, 'items.bin'))
  const array = (Type, [offset, length]) => new Type(bytes.buffer, bytes.byteOffset + offset, length)
  return JSON.parse(readFileSync(join(folder, 'items.json'), 'utf8')).map(({ tokens, positions, visuals }, i) => ({
    prompt: '',
    tokens: array(Int32Array, tokens),
    positions: array(Int32Array, positions),
    visuals: visuals.map(({ patches: place, pixels, ...visual }) => ({
      ...visual,
      pixels: array(Uint8Array, pixels),
      ...(patches && { patches: array(Float32Array, place) })
    })),
    contentKey: String(i),
    inputKey: String(i)
  }))
}
