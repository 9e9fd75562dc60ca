/** The flags of one command: parsed by yargs, checked by the option table, merged with environment and config file. */
import { readFile } from 'node:fs/promises'
import yargs from 'yargs'
import { commonOptions, type AnyCommand } from './command.js'
import { Vlm2VecError } from './errors.js'
import { flagOf, flatten, resolve, unknownFlag, variableOf, type Option, type Table } from './options.js'

export interface ParsedCommand {
  /** set when --help was asked for */
  help?: string
  options?: unknown
  configPath?: string | undefined
}

export interface NamedCommand {
  command: AnyCommand
  does: string
}

export async function parseCommand(
  name: string,
  { command, does }: NamedCommand,
  argv: string[],
  environment: NodeJS.ProcessEnv
): Promise<ParsedCommand> {
  const table = tableOf(command)
  const parser = createParser(name, { command, does }, table)
  const parsed = await Promise.resolve(argv.map(withDashes))
    .then((given) => parser.parseAsync(given))
    .catch((error: Error) => {
      throw new Vlm2VecError('E_OPTION', `${error.message}. See \`vlm2vec-native ${name} --help\`.`)
    })
  if (parsed['help']) return { help: await parser.getHelp() }
  const flags = givenFlags(parsed, table)
  addPositionals(flags, parsed._.map(String), command)
  renameAliases(flags, command)
  const configPath = parsed['config'] === undefined ? undefined : String([parsed['config']].flat().at(-1))
  const config =
    configPath === undefined ? undefined : { path: configPath, values: await readConfig(configPath, command) }
  return { options: resolve(table, { flags, environment: withAliases(environment, command), config }), configPath }
}

/** The command's own options and the common ones, but for those that stand for a key of the table. */
export function tableOf(command: AnyCommand): Table {
  const aliased = Object.keys(command.aliases ?? {})
  const common = Object.entries(commonOptions).filter(([key]) => !aliased.includes(key) && !(key in command.options))
  return { ...command.options, ...Object.fromEntries(common) }
}

/** `--train.batch_size` is taken as `--train.batch-size`. */
function withDashes(argument: string): string {
  return argument.replace(/^--[\w.-]+/, (flag) => flag.replaceAll('_', '-'))
}

function createParser(name: string, { command, does }: NamedCommand, table: Table) {
  const places = (command.positionals ?? []).map((key) => ` <${flagOf(key)}>`).join('')
  const parser = yargs()
    .scriptName('vlm2vec-native')
    .usage(`$0 ${name}${places} [--config FILE.yaml] [flags]\n\n${does}`)
    .parserConfiguration({
      'dot-notation': false,
      'camel-case-expansion': false,
      'parse-numbers': false,
      'parse-positional-numbers': false
    })
    .exitProcess(false)
    .fail(false)
    .version(false)
    .help(false)
    .wrap(120)
    .option('help', { type: 'boolean', description: 'show this', alias: 'h' })
    .option('config', { type: 'string', requiresArg: true, description: 'YAML or JSON file with these options' })
  for (const [key, entry] of flatten(table)) parser.option(flagOf(key), flagDefinition(key, entry))
  for (const alias of Object.keys(command.aliases ?? {}) as (keyof typeof commonOptions)[])
    parser.option(alias, flagDefinition(alias, { ...commonOptions[alias], default: undefined }))
  for (const example of command.examples ?? []) parser.example(`$0 ${example}`, '')
  return parser
}

function flagDefinition(key: string, { check, default: fallback, doc }: Option<unknown>) {
  const group = key in commonOptions ? 'Everywhere:' : key.includes('.') ? `${key.split('.')[0]!}:` : 'Options:'
  const common = {
    group,
    description: doc,
    ...(fallback === undefined || fallback === null ? {} : { defaultDescription: JSON.stringify(fallback) })
  }
  if (check.flag === 'boolean') return { ...common, type: 'boolean' as const }
  return { ...common, type: 'string' as const, requiresArg: true }
}

/** Texts by flag; refuses flags that nobody knows. */
function givenFlags(parsed: Record<string, unknown>, table: Table): Record<string, string[]> {
  const known = [...flatten(table).keys()].map(flagOf)
  const other = ['_', '$0', 'help', 'h', 'config', ...Object.keys(commonOptions)]
  const flags: Record<string, string[]> = {}
  for (const [flag, value] of Object.entries(parsed)) {
    if (!known.includes(flag) && !other.includes(flag)) throw unknownFlag(flag, [...known, 'config', 'help'])
    const isFlag = known.includes(flag) || flag in commonOptions
    if (isFlag && value !== undefined) flags[flag] = [value].flat().map(String)
  }
  return flags
}

function addPositionals(flags: Record<string, string[]>, values: string[], { positionals = [] }: AnyCommand): void {
  if (values.length > positionals.length) {
    const extra = values[positionals.length]!
    throw new Vlm2VecError(
      'E_OPTION',
      `Unexpected argument "${extra}". Several values of one flag are separated by commas.`
    )
  }
  values.forEach((value, place) => (flags[flagOf(positionals[place]!)] = [value]))
}

function renameAliases(flags: Record<string, string[]>, { aliases = {} }: AnyCommand): void {
  for (const [alias, key] of Object.entries(aliases)) {
    if (flags[alias] && !flags[flagOf(key)]) flags[flagOf(key)] = flags[alias]
    delete flags[alias]
  }
}

function withAliases(environment: NodeJS.ProcessEnv, { aliases = {} }: AnyCommand): NodeJS.ProcessEnv {
  const renamed = Object.entries(aliases).map(
    ([alias, key]) => [variableOf(key), environment[variableOf(alias)]] as const
  )
  const set = renamed.filter(([name, value]) => value !== undefined && environment[name] === undefined)
  return { ...environment, ...Object.fromEntries(set) }
}

async function readConfig(
  path: string,
  { readConfig: convert = (document) => document }: AnyCommand
): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new Vlm2VecError('E_OPTION', `Cannot read the config file ${path}: ${(cause as Error).message}`, { cause })
  })
  const { parse } = await import('yaml')
  try {
    return convert(parse(text) as unknown, path)
  } catch (cause) {
    if (cause instanceof Vlm2VecError) throw cause
    throw new Vlm2VecError('E_OPTION', `${path} is not valid YAML: ${(cause as Error).message}`, { cause })
  }
}
