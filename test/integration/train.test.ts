/** `train` as a user runs it, on a tiny random model. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { Embedder, train, type Item, type TrainConfig, type TrainEvent } from '../../src/index.js'
import type { StepMetrics } from '../../src/train/metrics-log.js'
import { command, metricsOf, norm, readJson, readTensors, temporaryFolder } from './golden.js'
import { ONE_THREAD, SCENES, writeConfig, writeExample, writeRows } from './tiny.js'

const folder = temporaryFolder()
beforeAll(() => writeExample(folder))

const trainQuietly = (config: string, ...flags: string[]) =>
  command('train', '--config', config, ...ONE_THREAD, '--quiet', ...flags)

describe('train', () => {
  it('writes a run directory: configuration, metrics, checkpoints, and an adapter that embeds', async () => {
    const config = writeConfig(folder, 'lora', { train: { max_steps: 12 } })
    const [directory] = await trainQuietly(config)
    expect(directory).toBe(join(folder, 'lora', 'final'))
    expect(readdirSync(join(folder, 'lora')).sort()).toEqual([
      'checkpoint-12',
      'checkpoint-9',
      'config.resolved.yaml',
      'final',
      'metrics.jsonl'
    ])
    const metrics = metricsOf(folder, 'lora')
    expect(metrics.map(({ step }) => step)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1))
    for (const each of metrics)
      for (const [key, value] of Object.entries(each)) expect(value, `${key} of step ${each.step}`).toBeGreaterThan(0)
    const mean = (values: StepMetrics[]): number => values.reduce((sum, { loss }) => sum + loss, 0) / values.length
    expect(mean(metrics.slice(-4))).toBeLessThan(mean(metrics.slice(0, 4)))

    const items = [{ text: 'find picture 1' }, { images: [join(folder, 'pictures', SCENES[1]!)] }]
    const [base, trained] = await Promise.all(
      [undefined, join(folder, 'lora', 'final')].map(async (adapter) => {
        const embedder = await Embedder.load(join(folder, 'base'), { adapter, device: 'cpu', threads: 1 })
        const { data } = await embedder.embed(items)
        await embedder.close()
        return data
      })
    )
    expect(norm(trained!)).toBeCloseTo(Math.SQRT2, 5)
    expect(trained).not.toEqual(base)
  })

  it('in mode full writes a model directory with every tensor of the base, by its name', async () => {
    const config = writeConfig(folder, 'full', { tune: { mode: 'full', freeze: ['vision'] }, train: { max_steps: 2 } })
    await trainQuietly(config)
    const base = readTensors(join(folder, 'base', 'model.safetensors'))
    const trained = readTensors(join(folder, 'full', 'final', 'model.safetensors'))
    expect([...trained.keys()].sort()).toEqual([...base.keys()].sort())
    const changed = [...base].filter(([name, { bytes }]) => !Buffer.from(trained.get(name)!.bytes).equals(bytes))
    const frozen = ([name]: [string, unknown]): boolean => name.startsWith('visual.') && !name.includes('merger')
    expect(changed.filter(frozen)).toEqual([])
    expect(changed.length).toBeGreaterThan(20)
    const embedder = await Embedder.load(join(folder, 'full', 'final'), { device: 'cpu', threads: 1 })
    expect((await embedder.embed([{ text: 'words' }])).dimension).toBe(64)
    await embedder.close()
  })

  it('scores each checkpoint on the tasks of the configuration, and trains to the same bits', async () => {
    const rows = SCENES.slice(0, 4).map((name, i) => ({
      qry_text: `find picture ${i}`,
      tgt_img_path: [
        `pictures/${name}`,
        ...SCENES.slice(0, 4).flatMap((other) => (other === name ? [] : `pictures/${other}`))
      ]
    }))
    writeRows(join(folder, 'task.jsonl'), rows)
    const tasks = [{ name: 'find', path: join(folder, 'task.jsonl') }]
    const config = (name: string): TrainConfig => ({
      ...readJson<TrainConfig>(writeConfig(folder, name)),
      model: { path: join(folder, 'base'), device: 'cpu' },
      data: [{ path: join(folder, 'rows.jsonl'), image_root: join(folder, 'pictures') }],
      output: { dir: join(folder, name), save_every: 3 }
    })
    const events: TrainEvent[] = []
    for await (const _ of train(config('plain'), { threads: 1 }));
    for await (const event of train({ ...config('scored'), evaluate: { tasks, limit: 3 } }, { threads: 1 }))
      events.push(event)
    const missing = { tasks: [{ name: 'x', path: join(folder, 'none.jsonl') }] }
    await expect(train({ ...config('wrong'), evaluate: missing }).next()).rejects.toThrow(/none\.jsonl/)
    const scored = events.flatMap((event) => (event.type === 'evaluation' ? [event] : []))
    const saved = events.flatMap((event) => (event.type === 'checkpoint' ? event.step : []))
    expect(scored.map(({ step }) => step)).toEqual(saved)
    expect(scored.length).toBeGreaterThan(1)
    for (const { scores, directory } of scored) {
      expect(scores[0]).toMatchObject({ name: 'find', num_pred: 3, num_candidates: expect.any(Number) })
      expect(readdirSync(directory)).toContain('find_score.json')
    }
    const weights = (name: string) => readFileSync(join(folder, name, 'final', 'adapter_model.safetensors'))
    expect(weights('scored').equals(weights('plain'))).toBe(true)
  })

  it('takes the columns of MMEB, and a flag over the file', async () => {
    writeRows(
      join(folder, 'mmeb.jsonl'),
      SCENES.map((name, i) => ({
        qry: `<|image_1|>\nWhat is it? ${i}`,
        qry_image_path: `pictures/${name}`,
        pos_text: `thing ${i}`,
        pos_image_path: '',
        neg_text: [`other ${i}`, `another ${i}`],
        neg_image_path: ['', '']
      }))
    )
    const config = writeConfig(folder, 'mmeb', { data: [{ path: 'mmeb.jsonl' }] })
    await trainQuietly(config, '--train.max-steps', '2')
    expect(metricsOf(folder, 'mmeb')).toHaveLength(2)
  })

  it('remembers the prompt that it was trained with', async () => {
    const prompt = { style: 'raw', positions: 'sequential', instruction: 'Represent.', max_pixels: 12544 }
    await trainQuietly(writeConfig(folder, 'prompt', { prompt, train: { max_steps: 1 } }))
    expect(readJson(join(folder, 'prompt', 'final', 'vlm2vec.json'))).toEqual({
      prompt: 'raw',
      positions: 'sequential',
      instruction: 'Represent.',
      max_pixels: 12544
    })
  })

  it('goes on training an adapter, by the configuration of that adapter', async () => {
    await trainQuietly(writeConfig(folder, 'first', { tune: { dora: true, rank: 2 }, train: { max_steps: 2 } }))
    const model = { adapter: 'first/final' }
    await trainQuietly(writeConfig(folder, 'second', { model, train: { max_steps: 1, learning_rate: 0 } }))
    expect(readJson(join(folder, 'second', 'final', 'adapter_config.json'))).toMatchObject({ r: 2, use_dora: true })
    const [first, second] = ['first', 'second'].map((name) =>
      readTensors(join(folder, name, 'final', 'adapter_model.safetensors'))
    )
    expect(second).toEqual(first)
  })
})

describe('the loss', () => {
  const rows: { query: Item; positives: Item[]; negatives: Item[] }[] = [
    {
      query: { text: 'first query' },
      positives: [{ text: 'a cat' }, { text: 'a tiger' }],
      negatives: [{ text: 'a dog' }]
    },
    { query: { text: 'second query' }, positives: [{ text: 'a cat' }], negatives: [] },
    {
      query: { text: 'third query' },
      positives: [{ text: 'a dog' }],
      negatives: [{ text: 'a fox' }, { text: 'a cat' }]
    }
  ]
  const temperature = 0.5

  /** Written out from its definition, on embeddings of the base model: new adapters change nothing at first. */
  async function expectedLoss(mask: boolean): Promise<number> {
    const embedder = await Embedder.load(join(folder, 'base'), { device: 'cpu', threads: 1 })
    const embed = async (items: Item[]): Promise<Float32Array[]> => {
      const { data, dimension, count } = await embedder.embed(items)
      return Array.from({ length: count }, (_, i) => data.subarray(i * dimension, (i + 1) * dimension))
    }
    const targets = rows.flatMap(({ positives, negatives }) => [...positives, ...negatives])
    const [q, t] = [await embed(rows.map(({ query }) => query)), await embed(targets)]
    await embedder.close()
    const score = (i: number, j: number): number =>
      q[i]!.reduce((sum, value, d) => sum + value * t[j]![d]!, 0) / temperature
    let first = 0
    const losses = rows.map(({ positives, negatives }, i) => {
      const own = positives.map((_, p) => first + p)
      first += positives.length + negatives.length
      const others = targets
        .map((_, j) => j)
        .filter((j) => !own.includes(j) && !(mask && positives.some(({ text }) => text === targets[j]!.text)))
      const rest = others.reduce((sum, j) => sum + Math.exp(score(i, j)), 0)
      return own.reduce((sum, p) => sum + Math.log(rest + Math.exp(score(i, p))) - score(i, p), 0) / own.length
    })
    return losses.reduce((sum, loss) => sum + loss, 0) / losses.length
  }

  it.each(['mask', 'keep'] as const)(
    'with several positives, hard negatives and duplicates: %s',
    async (duplicates) => {
      writeRows(join(folder, 'several.jsonl'), rows)
      const train = { batch_size: 3, chunk_size: 2, max_steps: 1, temperature, duplicates, shuffle: false }
      await trainQuietly(writeConfig(folder, `several-${duplicates}`, { data: [{ path: 'several.jsonl' }], train }))
      const expected = await expectedLoss(duplicates === 'mask')
      expect(metricsOf(folder, `several-${duplicates}`)[0]!.loss).toBeCloseTo(expected, 5)
    }
  )

  it('differs between the two, so that the test above can fail', async () => {
    expect(Math.abs((await expectedLoss(true)) - (await expectedLoss(false)))).toBeGreaterThan(0.05)
  })
})
