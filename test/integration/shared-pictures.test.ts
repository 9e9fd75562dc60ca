/** A picture that several items show is encoded once. Against the same pixels in files of other bytes, which are not shared. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { beforeAll, describe, expect, it } from 'vitest'
import { command, deviation, embedRows, floats, golden, readTensors, temporaryFolder, totalNorm } from './golden.js'
import { writeRows } from './tiny.js'

const folder = temporaryFolder()
const SCENES = ['scene0.png', 'scene1.png']

/** The item's picture `scene`, use `use` of it: a file of its own for each use, or one for all. */
type NameOf = (scene: number, use: number) => string
const one: NameOf = (scene) => SCENES[scene]!
const copies: NameOf = (scene, use) => `${use}-${SCENES[scene]}`

/** Each picture in four items of a batch of eight, with other texts and in both towers of a pair. */
const pairs = (name: NameOf) =>
  [0, 1, 0, 1].map((scene, i) => ({
    query: { text: `query ${i}`, images: [name(scene, i)] },
    target: i < 2 ? { text: `target ${i}` } : { text: `target ${i}`, images: [name(1 - scene, i), name(scene, i + 4)] }
  }))

beforeAll(async () => {
  for (const [scene, name] of SCENES.entries())
    for (let use = 0; use < 8; use++) {
      const picture = sharp(golden('pictures', name))
      const compressionLevel = use + 1
      await picture
        .clone()
        .withExif({ IFD0: { Artist: String(use) } })
        .png({ compressionLevel })
        .toFile(join(folder, copies(scene, use)))
      if (use === 0) await picture.png().toFile(join(folder, name))
    }
})

const FAMILIES = [[], ['qwen2_5_vl'], ['qwen3_vl'], ['llava_next'], ['phi3_v']]

describe.each(FAMILIES.map((path) => ({ name: path[0] ?? 'qwen2_vl', model: golden(...path, 'model') })))(
  'equal pictures with $name',
  ({ name, model }) => {
    async function gradients(kind: string, names: NameOf, tune: object) {
      const rows = join(folder, `${name}-${kind}.jsonl`)
      writeRows(rows, pairs(names))
      const dir = join(folder, `${name}-${kind}`)
      const config = {
        model: { path: model, dtype: 'f32', device: 'cpu' },
        tune,
        data: [{ name: 'rows', path: rows, image_root: folder }],
        train: { batch_size: 4, chunk_size: 3, max_steps: 1, shuffle: false },
        prompt: { style: 'raw' },
        output: { dir, dump_gradients: [1] }
      }
      writeFileSync(`${dir}.yaml`, JSON.stringify(config)) // JSON is YAML
      await command('train', '--config', `${dir}.yaml`, '--quiet', '--threads', '1')
      return readTensors(join(dir, 'gradients-1.safetensors'))
    }

    it('adds the gradients of all uses up where the tower is trained', async () => {
      const [shared, apart] = [
        await gradients('shared', one, { mode: 'full' }),
        await gradients('apart', copies, { mode: 'full' })
      ]
      const all = totalNorm(apart)
      expect(shared.size).toBe(apart.size)
      const off = [...apart].filter(([tensor, values]) => {
        const { own, ofAll } = deviation(floats(shared.get(tensor)!), floats(values), all)
        return own > 1e-4 && ofAll > 1e-6
      })
      expect(off.map(([tensor]) => tensor)).toEqual([])
    })

    it('changes no bit where the tower is frozen', async () => {
      const tune = { mode: 'lora', rank: 2, target_modules: ['o_proj'] }
      const [shared, apart] = [await gradients('shared-lora', one, tune), await gradients('apart-lora', copies, tune)]
      for (const [tensor, { bytes }] of apart) expect(bytes, tensor).toEqual(shared.get(tensor)!.bytes)
    })

    it('changes no bit of a vector', async () => {
      const embed = async (kind: string, names: NameOf) => {
        const input = join(folder, `${name}-${kind}-items.jsonl`)
        writeRows(
          input,
          pairs(names).flatMap(({ query, target }) => [query, target])
        )
        const rows = await embedRows(folder, '--model', model, '--prompt', 'raw', '--input', input, '--threads', '1')
        return rows.map((row) => [...row])
      }
      expect(await embed('shared', one)).toEqual(await embed('apart', copies))
    })
  }
)
