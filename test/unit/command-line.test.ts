import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { defineCommand } from '../../src/command.js'
import { parseCommand } from '../../src/command-line.js'
import { boolean, integer, list, nullable, option, path, required, string, type Values } from '../../src/options.js'

const command = defineCommand({
  options: {
    input: required(path, 'the input'),
    model: { device: option(string, 'auto', 'the device'), path: option(nullable(string), null, 'the model') },
    train: { batch_size: option(integer(1), 16, 'rows a step'), shuffle: option(boolean, true, 'shuffle') },
    modules: option(list(string), ['q'], 'modules')
  },
  positionals: ['input'],
  aliases: { device: 'model.device' },
  run: async () => {}
})

const parse = async (argv: string[], environment: NodeJS.ProcessEnv = {}) =>
  parseCommand('try', { command, does: 'tries' }, argv, environment)
const options = async (argv: string[], environment: NodeJS.ProcessEnv = {}) =>
  (await parse(argv, environment)).options as Values<typeof command.options>

let directory: string
beforeAll(() => (directory = mkdtempSync(join(tmpdir(), 'config-'))))
afterAll(() => rmSync(directory, { recursive: true }))

function config(text: string): string {
  const file = join(directory, 'config.yaml')
  writeFileSync(file, text)
  return file
}

describe('parseCommand', () => {
  it('reads flags with dashes or underscores, with a space or an equals sign', async () => {
    const given = await options([
      '--input',
      'x',
      '--train.batch-size=2',
      '--modules',
      'a,b',
      '--no-train.shuffle',
      '--json'
    ])
    expect(given).toMatchObject({
      input: 'x',
      train: { batch_size: 2, shuffle: false },
      modules: ['a', 'b'],
      json: true
    })
    expect((await options(['x', '--train.batch_size', '3', '--modules', 'a', '--modules', 'b'])).train.batch_size).toBe(
      3
    )
  })

  it('takes a dash as a value, and positionals by place', async () => {
    expect((await options(['--input', '-'])).input).toBe('-')
    expect((await options(['-'])).input).toBe('-')
    await expect(options(['x', 'y'])).rejects.toThrow('Unexpected argument "y"')
  })

  it('lets a common flag stand for a key of the table, over environment and file', async () => {
    const file = config('model: { device: a }\ninput: here\n')
    expect((await options(['--config', file])).model.device).toBe('a')
    expect((await options(['--config', file], { VLM2VEC_DEVICE: 'b' })).model.device).toBe('b')
    expect((await options(['--config', file, '--device', 'c'], { VLM2VEC_DEVICE: 'b' })).model.device).toBe('c')
    expect((await options(['--device', 'c', '--model.device', 'd', 'x'])).model.device).toBe('d')
    expect(await options(['x'])).not.toHaveProperty('device')
  })

  it('reads the config file, YAML or JSON, with paths from its folder', async () => {
    const given = await options([
      '--config',
      config('{"input": "items.jsonl", "train": {"batch_size": 4}}'),
      '--threads',
      '2'
    ])
    expect(given).toMatchObject({ input: join(directory, 'items.jsonl'), train: { batch_size: 4 }, threads: 2 })
  })

  it.each([
    [['--foo', 'x'], 'Unknown flag --foo. Known flags: --input, --model.device'],
    [['--inptu', 'x'], 'did you mean --input?'],
    [['--train.batch-size'], 'Not enough arguments following: train.batch-size'],
    [
      ['x', '--train.batch-size', '0'],
      'Expected a whole number of at least 1 for "train.batch_size" in --train.batch-size'
    ],
    [['x', '--config', '/none.yaml'], 'Cannot read the config file /none.yaml'],
    [[], 'Expected a path for "input" in the command line, received nothing']
  ])('refuses %j with a sentence', async (argv, message) => {
    const failing = options(argv)
    await expect(failing).rejects.toThrow(message)
    await expect(failing).rejects.toMatchObject({ code: 'E_OPTION' })
  })

  it('refuses a config file that is no YAML, or has keys that nobody knows', async () => {
    await expect(options(['x', '--config', config('a: [')])).rejects.toThrow('is not valid YAML')
    await expect(options(['x', '--config', config('train: { batchsize: 2 }')])).rejects.toThrow(
      /Unknown key "train.batchsize" in .*config.yaml \(did you mean "train.batch_size"\?\)/
    )
    await expect(options(['x', '--config', config('- a')])).rejects.toThrow('Expected a mapping')
  })

  it('lists every flag with its default in the help', async () => {
    const { help } = await parse(['--help'])
    expect(help).toContain('try <input> [--config FILE.yaml] [flags]')
    expect(help).toMatch(/--train\.batch-size\s+rows a step.*\[default: 16\]/)
    for (const flag of ['--threads', '--device', '--quiet', '--debug', '--json', '--config'])
      expect(help).toContain(flag)
  })
})
