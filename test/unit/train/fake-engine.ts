/** A model of one weight in place of the addon: what the loop does can be seen without it. */
import { readFile, writeFile } from 'node:fs/promises'
import type {
  Addon,
  Batch,
  ContrastiveLossInput,
  NativeTrainer,
  TrainerOptions,
  UpdateOptions
} from '../../../src/native.js'

export interface FakeEngine extends Partial<Addon> {
  /** the loss from this step on is not finite */
  brokenLossAt?: number
  created: TrainerOptions[]
  updates: UpdateOptions[]
  closed: number
}

export function fakeEngine(): FakeEngine {
  let losses = 0
  const engine: FakeEngine = {
    created: [],
    updates: [],
    closed: 0,
    linearModules: () =>
      ['q_proj', 'v_proj'].map((name) => ({
        name: `model.language_model.layers.0.self_attn.${name}`,
        part: 'text',
        inFeatures: 8,
        outFeatures: 8,
        spellings: {}
      })),
    createTrainer: (options) => {
      engine.created.push(options)
      return Promise.resolve(new FakeTrainer(engine, options.seed))
    },
    contrastiveLoss: ({ queries, targets }: ContrastiveLossInput) => {
      const broken = ++losses >= (engine.brokenLossAt ?? Infinity)
      const loss = [...queries, ...targets].reduce((sum, value, i) => sum + value / (i + 1), 0)
      const gradient = (values: Float32Array) => values.map((value) => value / 8)
      return Promise.resolve({
        loss: broken ? NaN : loss,
        dTemperature: 0,
        dQueries: gradient(queries),
        dTargets: gradient(targets)
      })
    }
  }
  return engine
}

class FakeTrainer implements NativeTrainer {
  private weight: number
  private gradient = 0

  constructor(
    private readonly engine: FakeEngine,
    seed: number
  ) {
    this.weight = seed
  }

  embed(batch: Batch): Promise<Float32Array> {
    return Promise.resolve(Float32Array.from(sumsOf(batch), (sum) => sum * this.weight))
  }

  backward(batch: Batch, dEmbeddings: Float32Array): Promise<void> {
    sumsOf(batch).forEach((sum, i) => (this.gradient += sum * dEmbeddings[i]!))
    return Promise.resolve()
  }

  saveGradients(path: string): Promise<void> {
    return writeFile(path, String(this.gradient))
  }

  update(options: UpdateOptions): Promise<{ gradNorm: number }> {
    this.engine.updates.push(options)
    const gradNorm = Math.abs(this.gradient)
    this.weight -= options.learningRate * this.gradient
    this.gradient = 0
    return Promise.resolve({ gradNorm })
  }

  saveWeights({ path }: { path: string }): Promise<void> {
    return writeFile(path, String(this.weight))
  }

  saveState(path: string): Promise<void> {
    return writeFile(path, String(this.weight))
  }

  async restoreState(path: string): Promise<void> {
    this.weight = Number(await readFile(path, 'utf8'))
  }

  memory = () => ({ weights: 0, packed: 0, gradients: 0, optimizer: 0, activations: 0 })

  close(): Promise<void> {
    this.engine.closed++
    return Promise.resolve()
  }
}

/** A number that tells sequences apart. */
function sumsOf({ tokens, seqStarts }: Batch): number[] {
  return Array.from({ length: seqStarts.length - 1 }, (_, i) => {
    const inside = tokens.subarray(seqStarts[i], seqStarts[i + 1])
    return inside.reduce((sum, token, place) => sum + token * (place + 1), 0) / 1000
  })
}
