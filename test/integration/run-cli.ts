/** The command line in this process: exit code and what it printed. */
import { Readable } from 'node:stream'
import { main } from '../../src/cli.js'

export interface CliResult {
  code: number
  stdout: string
  stderr: string
}

export interface CliOptions {
  stdin?: string
  environment?: NodeJS.ProcessEnv
  signal?: AbortSignal
}

export async function runCli(argv: string[], { stdin = '', ...options }: CliOptions = {}): Promise<CliResult> {
  const result = { stdout: '', stderr: '' }
  const stream = (name: 'stdout' | 'stderr') => ({
    write: (text: string, done?: (error?: Error | null) => void): boolean => {
      result[name] += text
      done?.()
      return true
    }
  })
  const streams = { stdout: stream('stdout'), stderr: stream('stderr'), stdin: Readable.from([Buffer.from(stdin)]) }
  const code = await main(argv, streams, options)
  return { code, ...result }
}

/** Lines of JSON on standard output. */
export const jsonLines = <T>({ stdout }: CliResult): T[] =>
  stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as T)
