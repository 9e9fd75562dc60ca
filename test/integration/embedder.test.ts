/** `Embedder` as programs use it: several in one process, streams, and worker threads. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { beforeAll, describe, expect, it } from 'vitest'
import { writeTinyModel } from '../../scripts/tiny-model.mjs'
import { Embedder } from '../../src/index.js'
import { golden, temporaryFolder } from './golden.js'

const directory = join(temporaryFolder(), 'model')
beforeAll(() => writeTinyModel(directory))

describe('Embedder', () => {
  it('gives the same bits from several in one process, and E_CLOSED once closed', async () => {
    const items = [{ text: 'a red circle' }, { images: [golden('pictures', 'scene0.png')] }]
    const embedders = await Promise.all([1, 2].map(() => Embedder.load(directory, { threads: 1 })))
    const [first, second] = await Promise.all(embedders.map((each) => each.embed(items)))
    expect(first).toEqual(second)
    expect(first).toMatchObject({ count: 2, dimension: 64 })
    await Promise.all(embedders.map((each) => each[Symbol.asyncDispose]()))
    await expect(embedders[0]!.embed(items)).rejects.toMatchObject({ code: 'E_CLOSED' })
    await embedders[0]!.close()
  })

  it('streams vectors in order while the source goes on, and stops at a signal', async () => {
    await using embedder = await Embedder.load(directory, { threads: 1 })
    const texts = Array.from({ length: 9 }, (_, i) => ({ text: `number ${i}` }))
    const whole = await embedder.embed(texts)
    let given = 0
    async function* source() {
      for (const item of texts) {
        given++
        yield item
      }
    }
    let row = 0
    for await (const vector of embedder.stream(source())) {
      expect(vector).toEqual(whole.data.subarray(row * 64, (row + 1) * 64))
      row++
    }
    expect([row, given]).toEqual([9, 9])

    const controller = new AbortController()
    const stopped = (async () => {
      for await (const _ of embedder.stream(texts, { signal: controller.signal })) controller.abort()
    })()
    await expect(stopped).rejects.toMatchObject({ code: 'E_ABORTED' })
    expect((await embedder.embed([])).count).toBe(0)
    await expect(embedder.embed([{ txt: 'a' } as never])).rejects.toThrow('item 0: unknown key "txt"')
    await expect(Embedder.load(directory, { dimension: 65 })).rejects.toMatchObject({ code: 'E_OPTION' })
  })

  it('works in worker threads, several at once, also when they end in the middle', async () => {
    const index = new URL('../../dist/index.js', import.meta.url)
    expect(existsSync(fileURLToPath(index)), 'run `npm run build` first').toBe(true)
    const url = (script: string): URL =>
      new URL(
        `data:text/javascript,${encodeURIComponent(`
          import { parentPort } from 'node:worker_threads'
          import { Embedder } from ${JSON.stringify(index.href)}
          const embedder = await Embedder.load(${JSON.stringify(directory)}, { threads: 1 })
          ${script}`)}`
      )
    const answer = (worker: Worker): Promise<unknown> =>
      new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
    const embed = "parentPort.postMessage((await embedder.embed([{ text: 'a red circle' }])).data)"
    const workers = [1, 2].map(() => new Worker(url(`${embed}\nawait embedder.close()`)))
    const [a, b] = await Promise.all(workers.map(answer))
    await using here = await Embedder.load(directory, { threads: 1 })
    const { data } = await here.embed([{ text: 'a red circle' }])
    expect([a, b]).toEqual([data, data])

    const busy = new Worker(
      url(
        "parentPort.postMessage('begun')\nfor (;;) await embedder.embed(Array(50).fill({ text: 'a red circle '.repeat(50) }))"
      )
    )
    expect(await answer(busy)).toBe('begun')
    expect(await busy.terminate()).toBe(1)
    expect((await here.embed([{ text: 'a red circle' }])).data).toEqual(data)
  })
})
