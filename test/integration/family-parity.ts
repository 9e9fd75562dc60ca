/** What every family of models is tested with: recorded vectors, and six steps of training, of `test/golden/<family>`. */
import { cpSync, mkdtempSync, readdirSync } from 'node:fs'
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
  offGradients,
  readJsonl,
  readTensors,
  temporaryFolder,
  totalNorm,
  writeTensors,
  type StoredTensor
} from './golden.js'
import { RecordedTraining } from './recorded-training.js'

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
    const recorded = new RecordedTraining(family.name, name, family.folder)
    let run: string
    beforeAll(async () => {
      run = await recorded.run()
    })

    it('has the losses and gradient norms of the reference at each of six steps', () => {
      expect(recorded.want.losses).toHaveLength(6)
      recorded.expectSteps(run, bound)
    })

    it('has every gradient of the first step, by name', () => {
      const theirs = recorded.gradients()
      const ours = readTensors(join(run, 'gradients-1.safetensors'))
      expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort())
      expect(offGradients(ours, theirs)).toEqual([])
    })

    it('does not depend on the chunk size, with dropout neither', async () => {
      const tune = name === 'full' ? {} : { dropout: 0.2 }
      const gradients = async (chunk_size: number): Promise<Map<string, StoredTensor>> =>
        readTensors(join(await recorded.run({ chunk_size, max_steps: 1 }, tune), 'gradients-1.safetensors'))
      const whole = await gradients(100)
      const parts = await gradients(1)
      const all = totalNorm(whole)
      for (const [tensor, value] of whole)
        expect(deviation(floats(parts.get(tensor)!), floats(value), all).ofAll, tensor).toBeLessThanOrEqual(1e-6)
    })
  })
}
