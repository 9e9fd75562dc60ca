/** What every family of models is tested with: recorded vectors, and six steps of training, of `test/golden/<family>`. */
import { cpSync, existsSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  command,
  cosineDistance,
  deviation,
  embedRows,
  floats,
  golden,
  largestDifference,
  metricsOf,
  offGradients,
  readJson,
  readJsonl,
  readTensors,
  temporaryFolder,
  totalNorm,
  writeTensors,
  type StoredTensor
} from './golden.js'

export interface RecordedItem {
  id: string
  prompt: string
  input_ids: number[]
  image_sizes: number[][]
}

export class Family {
  readonly folder = temporaryFolder()
  readonly inputs: RecordedItem[]
  private readonly recorded: Map<string, StoredTensor>

  /** `bound`: of a vector's numbers */
  constructor(
    readonly name: string,
    readonly bound: number
  ) {
    this.inputs = readJsonl<RecordedItem>(this.path('inputs.jsonl'))
    this.recorded = readTensors(this.path('embeddings.safetensors'))
  }

  path(...parts: string[]): string {
    return golden(this.name, ...parts)
  }

  rows(name: string): Float32Array[] {
    const tensor = this.recorded.get(name)!
    const dimension = tensor.shape[1]!
    return this.inputs.map((_, i) => floats(tensor).subarray(i * dimension, (i + 1) * dimension))
  }

  private own?: Promise<Float32Array[]>

  /** The vectors of its items in f32, all at once. */
  vectors(): Promise<Float32Array[]> {
    return (this.own ??= this.embed(this.path('model')))
  }

  async embed(model: string, { dtype = 'f32', more = [] as string[] } = {}): Promise<Float32Array[]> {
    const options = ['--model', model, '--device', 'cpu', '--dtype', dtype, '--prompt', 'raw', ...more]
    return embedRows(this.folder, ...options, '--input', this.path('items.jsonl'), '--image-root', golden('pictures'))
  }

  async inspect(): Promise<RecordedItem[]> {
    const input = ['--input', this.path('items.jsonl'), '--image-root', golden('pictures')]
    const lines = await command('inspect', '--model', this.path('model'), '--prompt', 'raw', ...input, '--json')
    return lines.map((line) => JSON.parse(line) as RecordedItem)
  }

  expectRecorded(vector: Float32Array, index: number): void {
    const theirs = this.rows('embeddings')[index]!
    expect(largestDifference(vector, theirs)).toBeLessThanOrEqual(this.bound)
    expect(cosineDistance(vector, theirs)).toBeLessThanOrEqual(1e-6)
  }

  /** Items whose vector is within the bound of what the reference gives with an error. */
  async passing(error: string): Promise<string[]> {
    const ours = await this.vectors()
    const wrong = this.rows(error)
    return this.inputs.filter((_, i) => largestDifference(ours[i]!, wrong[i]!) <= this.bound).map(({ id }) => id)
  }

  /** A copy of its model, or of another directory, that `change` has been at. */
  changed(change: (copy: string) => void, directory = this.path('model')): string {
    const copy = mkdtempSync(join(this.folder, 'changed-'))
    cpSync(directory, copy, { recursive: true })
    change(copy)
    return copy
  }

  /** A copy whose tensors have other names. */
  renamed(rename: (name: string) => string, directory = this.path('model')): string {
    const [file] = readdirSync(directory).filter((name) => name.endsWith('.safetensors'))
    const tensors = [...readTensors(join(directory, file!))]
    expect(tensors.some(([name]) => rename(name) !== name)).toBe(true)
    const others = new Map(tensors.map(([name, tensor]) => [rename(name), tensor]))
    return this.changed((copy) => writeTensors(join(copy, file!), others), directory)
  }

  async train(
    name: string,
    changes: Record<string, unknown> = {},
    tune: Record<string, unknown> = {}
  ): Promise<string> {
    const { options } = readJson<Expected>(this.path('training', name, 'expected.json'))
    const adapter = this.path('training', name, 'adapter')
    const run = mkdtempSync(join(this.folder, `${name}-`))
    const config = {
      model: { path: this.path('model'), adapter: existsSync(adapter) ? adapter : null, dtype: 'f32', device: 'cpu' },
      tune: { mode: existsSync(adapter) ? 'lora' : 'full', ...tune },
      data: [{ name: 'rows', path: this.path('training', name, 'rows.jsonl'), image_root: golden('pictures') }],
      train: { chunk_size: 3, shuffle: false, ...options, ...changes },
      prompt: { style: 'raw' },
      output: { dir: join(run, 'run'), dump_gradients: [1] }
    }
    writeFileSync(join(run, 'config.yaml'), JSON.stringify(config)) // JSON is YAML
    await command('train', '--config', join(run, 'config.yaml'), '--quiet')
    return config.output.dir
  }
}

interface Expected {
  options: Record<string, unknown>
  losses: number[]
  grad_norms: number[]
}

/** The vector of each item, as it is alone too, and close to it in bf16. */
export function describeVectors(family: Family): void {
  describe(`vectors of ${family.name}`, () => {
    it.each(family.inputs.map(({ id }, index) => ({ id, index })))(
      'are those of the reference for "$id"',
      async ({ index }) => family.expectRecorded((await family.vectors())[index]!, index)
    )

    it('are the same bits alone, and close to them in bf16', async () => {
      const ours = await family.vectors()
      expect(await family.embed(family.path('model'), { more: ['--batch-tokens', '1'] })).toEqual(ours)
      const narrow = await family.embed(family.path('model'), { dtype: 'bf16' })
      for (const [i, vector] of narrow.entries()) expect(cosineDistance(vector, ours[i]!)).toBeLessThanOrEqual(1e-2)
    })
  })
}

/** Losses, gradients by name, and independence of the chunk size, for the runs `lora`, `dora` and `full`. */
export function describeTraining(family: Family): void {
  describe.each([
    { name: 'lora', bound: 2e-4 },
    { name: 'dora', bound: 2e-4 },
    { name: 'full', bound: 1e-3 }
  ])(`training "$name" of ${family.name}`, ({ name, bound }) => {
    const want = readJson<Expected>(family.path('training', name, 'expected.json'))
    const theirs = readTensors(family.path('training', name, 'gradients.safetensors'))
    let run: string
    beforeAll(async () => {
      run = await family.train(name)
    })

    it('has the losses of the reference at each of six steps', () => {
      const metrics = metricsOf(run)
      expect(metrics).toHaveLength(6)
      for (const [i, { loss, grad_norm }] of metrics.entries()) {
        expect(Math.abs(loss / want.losses[i]! - 1), `step ${i + 1}`).toBeLessThanOrEqual(bound)
        expect(Math.abs(grad_norm / want.grad_norms[i]! - 1), `step ${i + 1}`).toBeLessThanOrEqual(1e-2)
      }
    })

    it('has every gradient of the first step, by name', () => {
      const ours = readTensors(join(run, 'gradients-1.safetensors'))
      expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort())
      expect(offGradients(ours, theirs)).toEqual([])
    })

    it('does not depend on the chunk size, with dropout neither', async () => {
      const tune = name === 'full' ? {} : { dropout: 0.2 }
      const gradients = async (chunk_size: number): Promise<Map<string, StoredTensor>> =>
        readTensors(join(await family.train(name, { chunk_size, max_steps: 1 }, tune), 'gradients-1.safetensors'))
      const whole = await gradients(100)
      const parts = await gradients(1)
      const all = totalNorm(whole)
      for (const [tensor, value] of whole)
        expect(deviation(floats(parts.get(tensor)!), floats(value), all).ofAll, tensor).toBeLessThanOrEqual(1e-6)
    })
  })
}
