/** What pictures take while they are prepared ahead of time is counted in bytes, and bounded. */
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { beforeAll, describe, expect, it } from 'vitest'
import { mapOrdered } from '../../../src/model/pipeline.js'
import { ByteBudget } from '../../../src/preprocess/byte-budget.js'
import { pixelBytes } from '../../../src/preprocess/pictures.js'
import { Processor } from '../../../src/preprocess/processor.js'

const model = fileURLToPath(new URL('../../golden/model', import.meta.url))
const SIDE = 600
const DECODED = 3 * SIDE * SIDE
let processor: Processor
let picture: Buffer
beforeAll(async () => {
  processor = await Processor.load(model)
  picture = await sharp({ create: { width: SIDE, height: SIDE, channels: 3, background: 'teal' } })
    .png()
    .toBuffer()
})

const place = { imageRoot: '.', label: 'item 0' }

describe('preparing pictures ahead', () => {
  it('asks for decoded and resized pictures before it decodes, and holds the resized ones afterwards', async () => {
    const budget = new ByteBudget(1)
    const other = budget.open()
    await other.reserve(1)
    const slot = budget.open()
    let done = false
    const preparing = processor.prepare({ images: [picture, picture] }, { ...place, slot }).then((prepared) => {
      done = true
      return prepared
    })
    while (slot.wanted === undefined) await new Promise((resolve) => setTimeout(resolve, 1))
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(done).toBe(false)
    other.keep(0)
    const prepared = await preparing
    expect(slot.wanted).toBe(2 * DECODED + pixelBytes(prepared))
    expect(budget.held).toBe(pixelBytes(prepared))
  })

  it('keeps within the limit however many items there are, and changes none of them', async () => {
    const alone = await processor.prepare({ images: [picture] }, place)
    const limit = 2 * (DECODED + pixelBytes(alone))
    const budget = new ByteBudget(limit)
    let most = 0
    const prepare = async () => {
      const slot = budget.open()
      const prepared = await processor.prepare({ images: [picture] }, { ...place, slot })
      most = Math.max(most, budget.held)
      return { prepared, slot }
    }
    let count = 0
    for await (const { prepared, slot } of mapOrdered(Array(20).keys(), prepare, 16, () => budget.close())) {
      most = Math.max(most, budget.held)
      expect(Buffer.compare(prepared.visuals[0]!.pixels, alone.visuals[0]!.pixels)).toBe(0)
      slot.keep(0)
      count++
    }
    expect(count).toBe(20)
    expect(most).toBeGreaterThan(0)
    expect(most).toBeLessThanOrEqual(limit)
    expect(budget.held).toBe(0)
  })

  it('ends though nobody takes what is held', async () => {
    const budget = new ByteBudget(1)
    const prepare = async () => processor.prepare({ images: [picture] }, { ...place, slot: budget.open() })
    for await (const _ of mapOrdered(Array(8).keys(), prepare, 4, () => budget.close())) break
  })

  it('lets an item that cannot be read go, and one of text', async () => {
    const budget = new ByteBudget(1)
    const slots = [1, 2, 3].map(() => budget.open())
    await expect(processor.prepare({ images: ['missing.png'] }, { ...place, slot: slots[0] })).rejects.toThrow(
      'missing'
    )
    await expect(
      processor.prepare({ images: [picture.subarray(0, 200)] }, { ...place, slot: slots[1] })
    ).rejects.toMatchObject({ code: 'E_IMAGE' })
    await processor.prepare({ text: 'x' }, { ...place, slot: slots[2] })
    expect(budget.held).toBe(0)
  })
})
