/** What items become, against transformers: prompts, token ids, positions, sizes, pixels. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  command,
  floats,
  golden,
  partsOf,
  readJsonl,
  readTensors,
  temporaryFolder,
  type Inspected,
  type RecordedInput,
  type StoredTensor
} from './golden.js'

const expected = readJsonl<RecordedInput>(golden('inputs.jsonl'))
const folder = temporaryFolder()
const inspect = async (rule: string, ...more: string[]): Promise<Inspected[]> => {
  const model = ['--model', golden('model'), '--device', 'cpu', '--prompt', 'raw', '--positions', rule]
  const input = ['--input', golden('items.jsonl'), '--image-root', golden('pictures')]
  const lines = await command('inspect', ...model, ...input, '--json', ...more)
  return lines.map((line) => JSON.parse(line) as Inspected)
}

describe.each(['mrope', 'sequential'] as const)('inspect with --positions %s', (rule) => {
  let inspected: Inspected[]
  beforeAll(async () => {
    inspected = await inspect(rule)
  })

  it('gives the items in order', () => {
    expect(inspected.map(({ id }) => id)).toEqual(expected.map(({ id }) => id))
  })

  it.each(expected.map((each, index) => ({ ...each, index })))(
    'gives prompt, ids, positions and grids of "$id" as transformers does',
    ({ index, ...want }) => {
      const got = inspected[index]!
      expect(got.prompt).toBe(want.prompt)
      expect(got.input_ids).toEqual(want.input_ids)
      const rows = got.positions.length === 1 ? Array<number[]>(3).fill(got.positions[0]!) : got.positions
      expect(rows).toEqual(want[rule])
      expect(got.grids ?? []).toEqual(want.grids)
    }
  )

  it('tells the two rules apart wherever a picture has several tokens and no <|vision_start|>', () => {
    const other = rule === 'mrope' ? 'sequential' : 'mrope'
    const differing = expected.filter(({ mrope, sequential }) => JSON.stringify(mrope) !== JSON.stringify(sequential))
    expect(differing.length).toBeGreaterThan(12)
    for (const want of differing) expect(inspected.find(({ id }) => id === want.id)!.positions).not.toEqual(want[other])
  })
})

describe('inspect --dump', () => {
  let dumped: Map<string, StoredTensor>
  beforeAll(async () => {
    const path = join(folder, 'dump.safetensors')
    await inspect('mrope', '--dump', path)
    dumped = readTensors(path)
  })

  const pictured = expected.filter(({ grids }) => grids.length > 0)

  it.each(pictured)('resizes the pictures of "$id" to the bytes that Pillow gives', ({ id, resized_sha256 }) => {
    const parts = partsOf(dumped, `${id}.resized`)
    expect(parts.every(({ dtype }) => dtype === 'U8')).toBe(true)
    const hash = createHash('sha256')
    for (const { bytes } of parts) hash.update(bytes)
    expect(hash.digest('hex')).toBe(resized_sha256)
  })

  it.each(pictured)(
    'normalises and orders the patches of "$id" as the processor does',
    ({ id, grids, pixel_values }) => {
      const values = Float32Array.from(partsOf(dumped, `${id}.pixel_values`).flatMap((part) => [...floats(part)]))
      const sizes = grids.map(([t, h, w]) => t! * h! * w! * 3 * 2 * 14 * 14)
      expect(values.length).toBe(sizes.reduce((sum, size) => sum + size))
      let start = 0
      for (const [picture, size] of sizes.entries()) {
        const wanted = pixel_values[picture]!
        const step = Math.floor(size / 12)
        wanted.forEach((value, i) => expect(values[start + i * step]!).toBeCloseTo(value, 6))
        start += size
      }
    }
  )
})
