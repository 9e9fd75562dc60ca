/** metrics.jsonl: a line a step. A resumed run cuts off what lies past its checkpoint, so that no step appears twice. */
import { open, readFile, type FileHandle } from 'node:fs/promises'
import { ioError, writeWhole } from '../atomic.js'

export interface StepMetrics {
  /** from 1 */
  step: number
  loss: number
  learning_rate: number
  /** before clipping */
  grad_norm: number
  examples_per_second: number
  tokens_per_second: number
  /** of the whole process */
  memory_mib: number
}

export class MetricsLog {
  private constructor(
    private readonly path: string,
    private readonly file: FileHandle
  ) {}

  /** Opens the log to go on after `lastStep`. */
  static async open(path: string, lastStep: number): Promise<MetricsLog> {
    const text = await readFile(path, 'utf8').catch(() => '')
    const kept = text.split('\n').filter((line) => {
      const step = stepOf(line)
      return step !== undefined && step <= lastStep
    })
    const wanted = kept.map((line) => `${line}\n`).join('')
    if (wanted !== text || text === '') await writeWhole(path, wanted)
    return new MetricsLog(path, await open(path, 'a'))
  }

  async append(metrics: StepMetrics): Promise<void> {
    try {
      await this.file.appendFile(`${JSON.stringify(metrics)}\n`)
    } catch (error) {
      throw ioError(error, this.path)
    }
  }

  /** Makes sure that the lines survive a power cut. */
  async sync(): Promise<void> {
    await this.file.sync()
  }

  async close(): Promise<void> {
    await this.file.close()
  }
}

/** undefined for a line that was cut off. */
function stepOf(line: string): number | undefined {
  try {
    return (JSON.parse(line) as Partial<StepMetrics>).step
  } catch {
    return undefined
  }
}
