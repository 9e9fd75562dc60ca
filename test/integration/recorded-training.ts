/** Runs of training that were recorded with transformers and peft: `training/*` of test/golden and of its families. */
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { command, golden, metricsOf, readJson, readTensors, type StoredTensor } from './golden.js'

interface Recorded {
  options: Record<string, unknown> & { positions?: string }
  losses: number[]
  grad_norms: number[]
  learning_rates: number[]
}

export class RecordedTraining {
  readonly want: Recorded

  /** `family`: a folder of test/golden, '' for Qwen2-VL. `folder`: for what is trained here. */
  constructor(
    private readonly family: string,
    readonly name: string,
    private readonly folder: string
  ) {
    this.want = readJson<Recorded>(this.path('expected.json'))
  }

  path(...parts: string[]): string {
    return golden(this.family, 'training', this.name, ...parts)
  }

  /** Of the first step, by name. */
  gradients(): Map<string, StoredTensor> {
    return readTensors(this.path('gradients.safetensors'))
  }

  /** Trains as recorded but for `changes` of `train` and `tune`; returns the run directory. */
  async run(changes: object = {}, tune: object = {}): Promise<string> {
    const { positions, ...train } = this.want.options
    const adapter = this.path('adapter')
    const adapted = existsSync(adapter)
    const run = mkdtempSync(join(this.folder, `${this.name}-`))
    const config = {
      model: { path: golden(this.family, 'model'), adapter: adapted ? adapter : null, dtype: 'f32', device: 'cpu' },
      tune: { mode: adapted ? 'lora' : 'full', ...tune },
      data: [{ name: 'rows', path: this.path('rows.jsonl'), image_root: golden('pictures') }],
      train: { chunk_size: 3, shuffle: false, ...train, ...changes },
      prompt: { style: 'raw', ...(positions && { positions }) },
      output: { dir: join(run, 'run'), dump_gradients: [1] }
    }
    const file = join(run, 'config.yaml')
    writeFileSync(file, JSON.stringify(config)) // JSON is YAML
    await command('train', '--config', file, '--quiet')
    return config.output.dir
  }

  /** Losses and gradient norms of every step of a run. */
  expectSteps(run: string, lossBound: number): void {
    const metrics = metricsOf(run)
    expect(metrics.map(({ step }) => step)).toEqual(this.want.losses.map((_, i) => i + 1))
    for (const [i, { loss, grad_norm }] of metrics.entries()) {
      expect(Math.abs(loss / this.want.losses[i]! - 1), `step ${i + 1}`).toBeLessThanOrEqual(lossBound)
      expect(Math.abs(grad_norm / this.want.grad_norms[i]! - 1), `step ${i + 1}`).toBeLessThanOrEqual(1e-2)
    }
  }
}
