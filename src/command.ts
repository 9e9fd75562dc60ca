/** What a command is: one file in commands/ that holds its options and what it does. cli.ts parses, checks and runs it. */
import type { Readable } from 'node:stream'
import type { Log } from './log.js'
import { boolean, integer, matching, option, type Table, type Values } from './options.js'

/** Flags that every command takes. */
export const commonOptions = {
  threads: option(integer(0, 4096), 0, 'CPU threads; 0: one a core'),
  device: option(
    matching(/^(auto|cpu|cuda(:\d+)?)$/, 'one of auto, cpu, cuda, cuda:N'),
    'auto',
    'where to compute: auto, cpu, cuda or cuda:N'
  ),
  quiet: option(boolean, false, 'print no progress'),
  debug: option(boolean, false, 'print where an error came from'),
  json: option(boolean, false, 'print results as JSON, one object a line')
}

export interface CommandContext {
  /** Writes a line of results to standard output; settles when there is room for more. */
  print(line: string): Promise<void>
  log: Log
  /** aborted at the first Ctrl-C */
  signal: AbortSignal
  stdin: Readable
  environment: NodeJS.ProcessEnv
  /** the config file, where one was given */
  configPath?: string | undefined
}

/** What the command line needs to know of a command. */
export interface AnyCommand {
  options: Table
  /** options that are also given by place: `data image-folder DIR` */
  positionals?: readonly string[]
  /** common options that stand for a key of the table, such as `device` for `model.device` */
  aliases?: Partial<Record<keyof typeof commonOptions, string>>
  /** Turns a parsed config file into values for the table, where its form differs. */
  readConfig?: (document: unknown, path: string) => unknown
  examples?: readonly string[]
  run(options: never, context: CommandContext): Promise<void>
}

export interface Command<T extends Table> extends AnyCommand {
  options: T
  positionals?: readonly (keyof T & string)[]
  run(options: Values<T & typeof commonOptions>, context: CommandContext): Promise<void>
}

export function defineCommand<const T extends Table>(command: Command<T>): Command<T> {
  return command
}
