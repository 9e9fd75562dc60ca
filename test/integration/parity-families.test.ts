/** The families beside Qwen2-VL against transformers and peft (f32): inputs, embeddings, six steps of LoRA and full training. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  command,
  cosineDistance,
  embedRows,
  floats,
  golden,
  largestDifference,
  offGradients,
  partsOf,
  readJson,
  readJsonl,
  readTensors,
  renamed,
  temporaryFolder,
  type Inspected,
  type RecordedInput
} from './golden.js'
import { RecordedTraining } from './recorded-training.js'

const folder = temporaryFolder()

// qwen3_vl_deep: more levels of DeepStack than text layers
describe.each(['qwen2_5_vl', 'qwen3_vl', 'qwen3_vl_deep'])('%s', (family) => {
  const expected = readJsonl<RecordedInput>(golden(family, 'inputs.jsonl'))
  const model = ['--model', golden(family, 'model'), '--device', 'cpu', '--prompt', 'raw']
  const input = ['--input', golden(family, 'items.jsonl'), '--image-root', golden('pictures')]
  const inspect = async (rule: string, ...more: string[]): Promise<Inspected[]> => {
    const lines = await command('inspect', ...model, '--positions', rule, ...input, '--json', ...more)
    return lines.map((line) => JSON.parse(line) as Inspected)
  }

  it.each(['mrope', 'sequential'] as const)('makes the inputs of transformers with --positions %s', async (rule) => {
    const inspected = await inspect(rule)
    const ours = inspected.map(({ id, prompt, input_ids, positions, grids = [] }) => ({
      id,
      prompt,
      input_ids,
      positions: positions.length === 1 ? Array<number[]>(3).fill(positions[0]!) : positions,
      grids
    }))
    const theirs = expected.map(({ id, prompt, input_ids, grids, ...rest }) => ({
      id,
      prompt,
      input_ids,
      positions: rest[rule],
      grids
    }))
    expect(ours).toEqual(theirs)
  })

  it('makes its pixels', async () => {
    const path = join(folder, `${family}.safetensors`)
    await inspect('mrope', '--dump', path)
    const dumped = readTensors(path)
    const { patch_size } = readJson<{ patch_size: number }>(golden(family, 'model', 'preprocessor_config.json'))
    for (const { id, grids, pixel_values, resized_sha256 } of expected.filter(({ grids }) => grids.length > 0)) {
      const hash = createHash('sha256')
      for (const { bytes } of partsOf(dumped, `${id}.resized`)) hash.update(bytes)
      expect(hash.digest('hex'), id).toBe(resized_sha256)
      const values = partsOf(dumped, `${id}.pixel_values`).flatMap((each) => [...floats(each)])
      let start = 0
      for (const [index, [t, h, w]] of grids.entries()) {
        const size = t! * h! * w! * 3 * 2 * patch_size ** 2
        for (const [i, value] of pixel_values[index]!.entries())
          expect(values[start + i * Math.floor(size / 12)], id).toBeCloseTo(value, 6)
        start += size
      }
      expect(values.length, id).toBe(start)
    }
  })

  it('embeds items of all kinds as transformers does', async () => {
    const recorded = readTensors(golden(family, 'embeddings.safetensors')).get('mrope')!
    const dimension = recorded.shape[1]!
    const theirs = floats(recorded)
    const ours = await embedRows(folder, ...model, '--positions', 'mrope', '--dtype', 'f32', ...input)
    expect(ours).toHaveLength(expected.length)
    for (const [i, { id }] of expected.entries()) {
      const row = theirs.subarray(i * dimension, (i + 1) * dimension)
      expect(largestDifference(ours[i]!, row), id).toBeLessThanOrEqual(2e-5)
      expect(cosineDistance(ours[i]!, row), id).toBeLessThanOrEqual(1e-6)
    }
  })

  it('embeds in bf16 close to f32', async () => {
    const theirs = floats(readTensors(golden(family, 'embeddings.safetensors')).get('mrope')!)
    const ours = await embedRows(folder, ...model, '--positions', 'mrope', '--dtype', 'bf16', ...input)
    const dimension = ours[0]!.length
    for (const [i, row] of ours.entries())
      expect(cosineDistance(row, theirs.subarray(i * dimension, (i + 1) * dimension)), expected[i]!.id).toBeLessThan(
        1e-3
      )
  })

  const runs = [
    { name: 'lora', lossBound: 2e-4 },
    { name: 'full', lossBound: 1e-3 }
  ].filter(({ name }) => existsSync(golden(family, 'training', name)))
  describe.each(runs)('training "$name"', ({ name, lossBound }) => {
    const recorded = new RecordedTraining(family, name, folder)
    let run: string
    beforeAll(async () => {
      run = await recorded.run()
    })

    it('has the losses and gradient norms of the reference', () => recorded.expectSteps(run, lossBound))

    it('has every gradient of the first step, by name', () => {
      const theirs = recorded.gradients()
      const ours = renamed(readTensors(join(run, 'gradients-1.safetensors')))
      expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort())
      expect(offGradients(ours, theirs)).toEqual([])
    })
  })
})
