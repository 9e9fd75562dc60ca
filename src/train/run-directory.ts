/** The directory of a run: one configuration, one process at a time, its metrics and its checkpoints. */
import { mkdir, readFile, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import { ioError, writeDirectoryWhole, writeWhole } from '../atomic.js'
import { Vlm2VecError } from '../errors.js'
import { validate } from '../options.js'
import {
  newestCheckpoint,
  removeLeftovers,
  rotate,
  saveCheckpoint,
  type Checkpoint,
  type LoopState
} from './checkpoint.js'
import { differences, fingerprintOf, identityOf } from './identity.js'
import { lock } from './lock.js'
import { MetricsLog, type StepMetrics } from './metrics-log.js'
import { trainOptions, withAbsolutePaths, type TrainOptions } from './options.js'

const CONFIG_FILE = 'config.resolved.yaml'
const METRICS_FILE = 'metrics.jsonl'

export class RunDirectory {
  readonly fingerprint: string
  /** the checkpoint that the run goes on from */
  resumed: Checkpoint | undefined
  private metrics: MetricsLog | undefined

  private constructor(
    readonly path: string,
    private readonly options: TrainOptions,
    private readonly unlock: () => Promise<void>
  ) {
    this.fingerprint = fingerprintOf(identityOf(options))
  }

  /** Takes the directory for this configuration. E_OUTPUT where it holds another run, or another process works in it. */
  static async open(options: TrainOptions): Promise<RunDirectory> {
    const path = options.output.dir
    await mkdir(path, { recursive: true }).catch((error: unknown) => {
      throw ioError(error, path)
    })
    const run = new RunDirectory(path, options, await lock(path))
    try {
      await run.check()
      await removeLeftovers(path)
      run.resumed = await newestCheckpoint(path)
      await writeWhole(join(path, CONFIG_FILE), stringify(withAbsolutePaths(options)))
      run.metrics = await MetricsLog.open(join(path, METRICS_FILE), run.resumed?.state.step ?? 0)
      return run
    } catch (error) {
      await run.close()
      throw error
    }
  }

  async record(metrics: StepMetrics): Promise<void> {
    await this.metrics!.append(metrics)
  }

  /** Writes checkpoint-N, then deletes the oldest ones. */
  async save(state: Omit<LoopState, 'fingerprint'>, write: (directory: string) => Promise<void>): Promise<Checkpoint> {
    await this.metrics!.sync()
    const checkpoint = await saveCheckpoint(this.path, { ...state, fingerprint: this.fingerprint }, write)
    await rotate(this.path, this.options.output.keep_last)
    return checkpoint
  }

  /** Writes final/, the trained model without the optimizer. */
  async finish(write: (directory: string) => Promise<void>): Promise<string> {
    const directory = join(this.path, 'final')
    await writeDirectoryWhole(directory, write)
    return directory
  }

  gradientsFile(step: number): string {
    return join(this.path, `gradients-${step}.safetensors`)
  }

  async close(): Promise<void> {
    await this.metrics?.close()
    await this.unlock()
  }

  private async check(): Promise<void> {
    const belongings = await this.belongings()
    if (belongings.length === 0) return // a run that never did a step leaves nothing to protect
    const text = await readFile(join(this.path, CONFIG_FILE), 'utf8').catch(() => undefined)
    if (text === undefined) throw this.refusal(`holds ${belongings[0]!}, but no ${CONFIG_FILE} that says of which run`)
    const changed = differences(identityOf(this.read(text)), identityOf(this.options))
    if (changed.length > 0) throw this.refusal(`holds another run: ${changed.join('; ')}`)
    if (this.options.output.resume === 'never') throw this.refusal('holds a run already, and output.resume is never')
  }

  private async belongings(): Promise<string[]> {
    const names = (await readdir(this.path)).filter((name) => /^(checkpoint-\d+|final)$/.test(name))
    const metrics = await stat(join(this.path, METRICS_FILE)).catch(() => undefined)
    return metrics && metrics.size > 0 ? [...names, METRICS_FILE] : names
  }

  private read(text: string): TrainOptions {
    try {
      return validate(trainOptions, parse(text) as unknown, join(this.path, CONFIG_FILE))
    } catch (cause) {
      throw this.refusal(`holds a ${CONFIG_FILE} that can't be read (${(cause as Error).message})`, cause)
    }
  }

  private refusal(what: string, cause?: unknown): Vlm2VecError {
    const advice = 'Choose another output.dir, restore the configuration, or delete the directory.'
    return new Vlm2VecError('E_OUTPUT', `${this.path} ${what}. ${advice}`, { cause })
  }
}
