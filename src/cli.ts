#!/usr/bin/env node
/** Command line: arguments -> one command -> exit code. Nothing heavy is loaded before the command runs. */
import { realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { exitCodeOf, Vlm2VecError } from './errors.js'
import { createOutput, type OutputStream } from './output.js'
import type { LogStream } from './log.js'
import type { AnyCommand } from './command.js'

export interface Streams {
  stdout: OutputStream
  stderr: LogStream
  stdin: Readable
}

interface Entry {
  does: string
  load: () => Promise<{ command: AnyCommand }>
}

/** Every command, in the order of the help. */
const COMMANDS: Record<string, Entry> = {
  train: {
    does: 'contrastive training from a config; writes a run directory',
    load: () => import('./commands/train.js')
  },
  embed: { does: 'items (JSONL) to vectors', load: () => import('./commands/embed.js') },
  evaluate: {
    does: 'MMEB-style ranking tasks to scores and a report',
    load: () => import('./commands/evaluate.js')
  },
  plan: {
    does: 'what train would do, without doing it; checks data and options',
    load: () => import('./commands/plan.js')
  },
  inspect: {
    does: 'what a model directory is; with --input, what items become',
    load: () => import('./commands/inspect.js')
  },
  export: {
    does: 'merge an adapter, cut the dimension, write a Hugging Face or sentence-transformers directory',
    load: () => import('./commands/export.js')
  },
  'data image-folder': {
    does: 'training rows out of a folder of classes',
    load: () => import('./commands/data-image-folder.js')
  },
  'data verify': {
    does: 'read every row and picture of a data set, and list what is wrong',
    load: () => import('./commands/data-verify.js')
  },
  'data stats': { does: 'what a data set consists of', load: () => import('./commands/data-stats.js') },
  bench: { does: "kernels and whole jobs against the machine's limit", load: () => import('./commands/bench.js') },
  demo: {
    does: 'makes a data set and a small model, trains, evaluates and searches',
    load: () => import('./commands/demo.js')
  },
  doctor: {
    does: "what this machine can run, and how to repair what it can't",
    load: () => import('./commands/doctor.js')
  }
}

export interface MainOptions {
  environment?: NodeJS.ProcessEnv
  signal?: AbortSignal
}

/** Runs one command and returns its exit code. `argv` is without node and script. */
export async function main(
  argv: string[],
  streams: Streams,
  { environment = {}, signal = new AbortController().signal }: MainOptions = {}
): Promise<number> {
  const output = createOutput(streams.stdout)
  try {
    const [first = ''] = argv
    if (first === '--version' || first === 'version') await output.print(version())
    else if (first === '--help' || first === '-h' || first === 'help') await output.print(help())
    else await run(argv, { streams, environment, signal, print: output.print })
    return 0
  } catch (error) {
    if (output.closed()) return 0
    const debug = argv.includes('--debug') || environment['VLM2VEC_DEBUG'] === 'true'
    streams.stderr.write(`${describe(error, debug)}\n`)
    return exitCodeOf(error)
  }
}

interface Run {
  streams: Streams
  environment: NodeJS.ProcessEnv
  signal: AbortSignal
  print: (line: string) => Promise<void>
}

async function run(argv: string[], { streams, environment, signal, print }: Run): Promise<void> {
  const name = commandName(argv)
  const { command } = await COMMANDS[name]!.load()
  const { parseCommand } = await import('./command-line.js')
  const parsed = await parseCommand(
    name,
    { command, does: COMMANDS[name]!.does },
    argv.slice(name.split(' ').length),
    environment
  )
  if (parsed.help !== undefined) return print(parsed.help)
  const { createLog } = await import('./log.js')
  const { quiet } = parsed.options as { quiet: boolean }
  const log = createLog(streams.stderr, { quiet, color: !environment['NO_COLOR'] })
  await command.run(parsed.options as never, {
    print,
    log,
    signal,
    stdin: streams.stdin,
    environment,
    configPath: parsed.configPath
  })
}

function commandName([first, second]: string[]): string {
  if (first === undefined) throw new Vlm2VecError('E_OPTION', `No command was given.\n\n${help()}`)
  const both = `${first} ${second}`
  if (Object.hasOwn(COMMANDS, both)) return both
  if (Object.hasOwn(COMMANDS, first)) return first
  const inside = Object.keys(COMMANDS).filter((name) => name.startsWith(`${first} `))
  if (inside.length > 0)
    throw new Vlm2VecError(
      'E_OPTION',
      `"${first}" is followed by one of: ${inside.map((name) => name.slice(first.length + 1)).join(', ')}.`
    )
  if (first.startsWith('-'))
    throw new Vlm2VecError('E_OPTION', `A command comes first, then its flags: ${Object.keys(COMMANDS).join(', ')}.`)
  throw new Vlm2VecError('E_OPTION', `Unknown command "${first}". Commands: ${Object.keys(COMMANDS).join(', ')}.`)
}

function help(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length))
  const lines = Object.entries(COMMANDS).map(([name, { does }]) => `  ${name.padEnd(width)}  ${does}`)
  return [
    'vlm2vec-native <command> [--config FILE.yaml] [flags]',
    '',
    'Turns vision-language models into embedding models: training, embedding and evaluation.',
    '',
    ...lines,
    '',
    'A flag overrides the environment (VLM2VEC_...), which overrides the config file.',
    '`vlm2vec-native <command> --help` lists the flags of a command.'
  ].join('\n')
}

function version(): string {
  return (createRequire(import.meta.url)('../package.json') as { version: string }).version
}

/** One sentence; with `debug` the stack, and the causes. */
function describe(error: unknown, debug: boolean): string {
  if (!(error instanceof Error)) return String(error)
  if (!debug) return error.message || error.name
  const cause = error.cause === undefined ? '' : `\nCaused by: ${describe(error.cause, debug)}`
  return `${error.stack ?? error.message}${cause}`
}

/** The first Ctrl-C asks the command to stop, the second ends at once. */
async function runAsProgram(): Promise<void> {
  const controller = new AbortController()
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(130)
    controller.abort(new Vlm2VecError('E_ABORTED', 'Stopped by Ctrl-C.'))
  }
  process.on('SIGINT', stop).on('SIGTERM', stop)
  const code = await main(process.argv.slice(2), process, { environment: process.env, signal: controller.signal })
  process.exitCode = code
  process.stdout.write('', () => process.exit(code))
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) await runAsProgram()
