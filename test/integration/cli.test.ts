/** The command line as a program: exit codes, streams, signals. */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { writeTinyModel } from '../../scripts/tiny-model.mjs'
import { temporaryFolder } from './golden.js'
import { jsonLines, runCli } from './run-cli.js'
import { spawnCli, writeRows } from './tiny.js'

const folder = temporaryFolder()
const model = join(folder, 'model')
const input = join(folder, 'items.jsonl')

beforeAll(() => {
  writeTinyModel(model)
  writeRows(
    input,
    Array.from({ length: 300 }, (_, i) => ({ text: `a red circle number ${i} and many more words`.repeat(20) }))
  )
})

const COMMANDS = [
  'train',
  'embed',
  'evaluate',
  'plan',
  'inspect',
  'export',
  'data image-folder',
  'data verify',
  'data stats',
  'bench',
  'doctor'
]

describe('vlm2vec-native', () => {
  it('lists its commands, and none that does not exist', async () => {
    const { code, stdout } = await runCli(['--help'])
    expect(code).toBe(0)
    const listed = stdout.split('\n').flatMap((line) => /^ {2}(\S+(?: \S+)?) {2,}/.exec(line)?.[1] ?? [])
    expect(listed.filter((name) => name !== 'demo')).toEqual(COMMANDS)
    expect((await runCli(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  })

  it.each(COMMANDS)('%s --help names its flags and those that are everywhere', async (name) => {
    const { code, stdout } = await runCli([...name.split(' '), '--help'])
    expect(code).toBe(0)
    for (const flag of ['--config', '--threads', '--device', '--quiet', '--debug', '--json'])
      expect(stdout).toContain(flag)
    expect(stdout).toContain(`vlm2vec-native ${name}`)
  })

  it.each([
    [[], 'No command was given'],
    [['serve'], 'Unknown command "serve"'],
    [['data'], 'is followed by one of: image-folder, verify, stats'],
    [['--json', 'embed'], 'A command comes first'],
    [['embed', '--modle', 'x'], 'did you mean --model?'],
    [['embed', '--model', 'x', 'y'], 'Unexpected argument "y"'],
    [['embed', '--model', 'x', '--input', 'y'], '"output"'],
    [['embed', '--device', 'gpu', '--model', 'x', '--input', 'y', '--output', 'z'], 'cuda:N']
  ])('refuses %j with exit code 2 and a sentence', async (argv, message) => {
    const { code, stdout, stderr } = await runCli(argv)
    expect([code, stdout, stderr]).toEqual([2, '', expect.stringContaining(message)])
    expect(stderr).not.toContain('    at ')
  })

  it('says where an error came from only with --debug', async () => {
    const argv = ['inspect', '--model', join(folder, 'none')]
    expect(await runCli(argv)).toEqual({
      code: 4,
      stdout: '',
      stderr: `There is no directory ${join(folder, 'none')}, and it is no hub id (owner/name).\n`
    })
    expect((await runCli([...argv, '--debug'])).stderr).toContain('    at ')
    expect((await runCli(argv, { environment: { VLM2VEC_DEBUG: 'true' } })).stderr).toContain('    at ')
  })

  it('takes options from environment and config file', async () => {
    const config = join(folder, 'embed.yaml')
    writeFileSync(config, 'model: model\ninput: items.jsonl\noutput: from-config.npy\nshard: 0/100\n')
    expect((await runCli(['embed', '--config', config, '--quiet'])).stderr).toBe('')
    expect(existsSync(join(folder, 'from-config.npy'))).toBe(true)
    const environment = { VLM2VEC_OUTPUT: '-', VLM2VEC_DIMENSION: '3' }
    const lines = jsonLines<{ embedding: number[] }>(await runCli(['embed', '--config', config], { environment }))
    expect(lines.map(({ embedding }) => embedding.length)).toEqual([3, 3, 3])
    const asked = await runCli(['embed', '--config', config, '--dimension', '2'], { environment })
    expect(jsonLines<{ embedding: number[] }>(asked)[0]!.embedding).toHaveLength(2)
  })
})

describe('doctor', () => {
  it('says what this machine can run', async () => {
    const { code, stdout } = await runCli(['doctor', '--json'])
    expect(code).toBe(0)
    const said = JSON.parse(stdout) as Record<string, { value: unknown }>
    for (const name of ['node', 'cores', 'memory', 'addon', 'instruction set', 'oneDNN', 'cuda', 'sharp', 'tokenizers'])
      expect(said[name]?.value, name).toBeTruthy()
  })
})

describe('data', () => {
  it('makes rows of a folder of classes, checks them, and counts', async () => {
    const { default: sharp } = await import('sharp')
    const png = await sharp({ create: { width: 8, height: 4, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    for (const name of ['red_fox', 'cat']) {
      mkdirSync(join(folder, 'classes', name), { recursive: true })
      writeFileSync(join(folder, 'classes', name, '1.png'), png)
    }
    const output = join(folder, 'classes.jsonl')
    const argv = ['data', 'image-folder', join(folder, 'classes'), '--output', output, '--instruction', 'Which class?']
    expect((await runCli(argv)).code).toBe(0)
    const report = jsonLines<Record<string, any>>(await runCli(['data', 'verify', output, '--json']))[0]!
    expect(report).toMatchObject({ rows: 2, valid: 2, problems: [] })
    expect(report['queries'].width).toMatchObject({ min: 8, max: 8 })
    expect((await runCli(['data', 'stats', output])).stdout).toContain('2 of 2 rows can be trained on')

    writeFileSync(join(folder, 'classes', 'cat', '1.png'), png.subarray(0, 40))
    const { code, stdout, stderr } = await runCli(['data', 'verify', output])
    expect([code, stderr]).toEqual([4, expect.stringContaining('1 of 2 rows cannot be used')])
    expect(stdout).toContain('record 1')
  })
})

describe('the process', () => {
  const embed = ['embed', '--model', model, '--input', input]

  it('ends with the exit code, results on stdout and the rest on stderr, without colours where there is no terminal', async () => {
    const { code, stdout, stderr } = await spawnCli([...embed, '--shard', '0/100', '--output', '-'])
    expect(code).toBe(0)
    expect(stdout.trimEnd().split('\n')).toHaveLength(3)
    expect(stderr).toMatch(/^Embedding 3\/3 items/)
    expect(stdout + stderr).not.toMatch(/[\r\u001b]/)
    expect((await spawnCli(['nothing'])).code).toBe(2)
  })

  it('ends with exit code 3 where there is no addon, and says how to repair it', async () => {
    const wrapper = ['env', 'VLM2VEC_NATIVE_BINARY=/none.node']
    for (const argv of [['doctor'], [...embed, '--output', '-']]) {
      const { code, stderr } = await spawnCli(argv, { wrapper })
      expect([code, stderr]).toEqual([3, expect.stringContaining('npm run setup')])
    }
  })

  it('takes a reader that goes away for the end', async () => {
    const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))
    const script = `"$0" "$@" --output - --quiet | head -n 1; echo "\${PIPESTATUS[0]}"`
    const child = spawn('bash', ['-c', script, process.execPath, cli, ...embed])
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (text: Buffer) => (stdout += text.toString()))
    child.stderr.on('data', (text: Buffer) => (stderr += text.toString()))
    await new Promise((resolve) => child.on('close', resolve))
    expect(stdout.trimEnd().split('\n')).toEqual([expect.stringContaining('"id":"0"'), '0'])
    expect(stderr).toBe('')
  })

  it('stops at Ctrl-C with exit code 130, and leaves nothing half written', async () => {
    const output = join(folder, 'stopped.npy')
    writeRows(
      join(folder, 'many.jsonl'),
      Array.from({ length: 200_000 }, () => ({ text: 'a red circle' }))
    )
    const leftovers = () => readdirSync(folder).filter((name) => name.includes('stopped'))
    const { code, stderr } = await spawnCli(
      ['embed', '--model', model, '--input', join(folder, 'many.jsonl'), '--output', output],
      {
        onStart: (child) => {
          const waiting = setInterval(() => {
            if (leftovers().length === 0) return
            clearInterval(waiting)
            child.kill('SIGINT') // once: a second one would end it at once
          }, 20)
          child.once('exit', () => clearInterval(waiting))
        }
      }
    )
    expect([code, stderr]).toEqual([130, expect.stringContaining('Stopped by Ctrl-C.')])
    expect(leftovers()).toEqual([])
  })

  it('ends with exit code 1 where the disk is full, and leaves nothing half written', async () => {
    const output = join(folder, 'large.npy')
    const { code, stderr } = await spawnCli([...embed, '--output', output, '--quiet'], {
      wrapper: ['prlimit', '--fsize=20000']
    })
    expect([code, stderr]).toEqual([1, expect.stringMatching(/large\.npy: the disk is full/)])
    expect(readdirSync(folder).filter((name) => name.includes('large'))).toEqual([])
  })
})
