/** A tiny random model, adapters of it, rows with pictures, and configurations to train with, as files of a user. */
import { spawn, type ChildProcess } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { writeTinyModel } from '../../scripts/tiny-model.mjs'
import { fromFloats, golden, writeTensors } from './golden.js'

export const SCENES = ['scene0.png', 'scene1.png', 'scene2.png', 'scene3.png', 'gray.png', 'palette.png']

/** Two threads that share a busy core wait for each other longer than tiny models take. */
export const ONE_THREAD = ['--threads', '1']

/** Writes `base`, `pictures` and `rows.jsonl` into `folder`: picture to words, words to picture, with hard negatives. */
export function writeExample(folder: string, modelOptions: object = {}): void {
  writeTinyModel(join(folder, 'base'), modelOptions)
  for (const name of SCENES) cpSync(golden('pictures', name), join(folder, 'pictures', name))
  const rows = SCENES.flatMap((name, i) => [
    {
      query: { instruction: 'Describe.', images: [name] },
      target: { text: `words about picture ${i}` },
      negatives: i % 2 === 0 ? [{ text: `other words ${i}` }] : []
    },
    { query: { text: `find picture ${i}` }, target: { images: [name] } }
  ])
  writeRows(join(folder, 'rows.jsonl'), rows)
}

/** Writes `base`, whose lm_head is a matrix of its own, `adapter` and `items.jsonl` into `folder`. */
export function writeAdapted(folder: string): void {
  writeTinyModel(join(folder, 'base'), { tied: false })
  writeAdapter(join(folder, 'adapter'), join(folder, 'base'))
  writeRows(join(folder, 'items.jsonl'), [
    { text: 'a red circle' },
    { instruction: 'Represent the picture:', images: [golden('pictures', 'scene0.png')] }
  ])
}

/** Writes an adapter of that base: on all q_proj (64 x 64) and the tower's qkv (96 x 32), by the names of transformers 4. */
export function writeAdapter(directory: string, base: string, config: object = {}): void {
  const RANK = 3
  mkdirSync(directory, { recursive: true })
  const json = {
    peft_type: 'LORA',
    r: RANK,
    lora_alpha: 6,
    target_modules: ['q_proj', 'qkv'],
    base_model_name_or_path: base
  }
  writeFileSync(join(directory, 'adapter_config.json'), JSON.stringify({ ...json, ...config }))
  const values = (count: number, seed: number): Float32Array =>
    Float32Array.from({ length: count }, (_, i) => 0.2 * Math.sin(seed + 1.7 * i))
  const tensors = [0, 1].flatMap((i) => {
    const text = `base_model.model.model.layers.${i}.self_attn.q_proj`
    const vision = `base_model.model.visual.blocks.${i}.attn.qkv`
    return [
      [`${text}.lora_A.weight`, fromFloats(values(RANK * 64, i), [RANK, 64], 'F32')],
      [`${text}.lora_B.weight`, fromFloats(values(64 * RANK, i + 2), [64, RANK], 'F32')],
      [`${vision}.lora_A.weight`, fromFloats(values(RANK * 32, i + 4), [RANK, 32], 'F32')],
      [`${vision}.lora_B.weight`, fromFloats(values(96 * RANK, i + 6), [96, RANK], 'F32')]
    ] as const
  })
  writeTensors(join(directory, 'adapter_model.safetensors'), new Map(tensors))
}

export function writeRows(path: string, rows: object[]): void {
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
}

interface Changes {
  model?: object
  tune?: object
  data?: object[]
  train?: object
  prompt?: object
  output?: object
}

/** Writes `NAME.yaml` into `folder` with a run directory of that name; returns its path. */
export function writeConfig(folder: string, name: string, changes: Changes = {}): string {
  const config = {
    model: { path: 'base', dtype: 'f32', device: 'cpu', ...changes.model },
    tune: {
      mode: 'lora',
      rank: 4,
      alpha: 8,
      target_modules: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'qkv'],
      ...changes.tune
    },
    data: changes.data ?? [{ name: 'rows', path: 'rows.jsonl', image_root: 'pictures' }],
    train: { batch_size: 5, chunk_size: 3, max_steps: 6, learning_rate: 5e-3, seed: 7, ...changes.train },
    ...(changes.prompt && { prompt: changes.prompt }),
    output: { dir: name, save_every: 3, ...changes.output }
  }
  const path = join(folder, `${name}.yaml`)
  writeFileSync(path, JSON.stringify(config)) // JSON is YAML
  return path
}

export interface Finished {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

const dist = (name: string): string => {
  const path = fileURLToPath(new URL(`../../dist/${name}`, import.meta.url))
  if (!existsSync(path)) throw new Error(`dist/${name} is missing: run \`npm run build\` first`)
  return path
}

interface SpawnOptions {
  /** sees each line of standard output */
  onLine?: (line: string, child: ChildProcess) => void
  onStart?: (child: ChildProcess) => void
  /** a program and its arguments that start the process */
  wrapper?: string[]
  cwd?: string
}

/** Runs the command line in a process of its own. */
export const spawnCli = (argv: string[], options: SpawnOptions = {}): Promise<Finished> =>
  spawnNode([dist('cli.js'), ...argv], options)

/** Trains in a process that kills itself, as if the power were cut, at the event `type` of `step`. */
export function trainKilledAt(configPath: string, type: string, step: number): Promise<Finished> {
  const script = `
    import { readFileSync } from 'node:fs'
    import { train } from ${JSON.stringify(pathToFileURL(dist('index.js')).href)}
    for await (const event of train(JSON.parse(readFileSync(${JSON.stringify(configPath)}, 'utf8')), { threads: 1 }))
      if (event.type === '${type}' && event.step === ${step}) process.kill(process.pid, 'SIGKILL')`
  return spawnNode(['--input-type=module', '--eval', script], { cwd: dirname(configPath) })
}

/** MiB that two steps take at their peak (VmHWM), over what the process takes when everything but the model is loaded. */
export async function peakOfTraining(configPath: string): Promise<number> {
  const script = `
    import { readFileSync } from 'node:fs'
    import { native } from ${JSON.stringify(pathToFileURL(dist('native.js')).href)}
    import { train } from ${JSON.stringify(pathToFileURL(dist('index.js')).href)}
    import sharp from ${JSON.stringify(pathToFileURL(createRequire(import.meta.url).resolve('sharp')).href)}
    const status = (name) => Number(new RegExp(name + ':\\\\s+(\\\\d+)').exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024
    native().backendInfo()
    await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } }).png().toBuffer()
    const before = status('VmRSS')
    let peak = 0
    for await (const event of train(JSON.parse(readFileSync(${JSON.stringify(configPath)}, 'utf8')), { threads: 1 }))
      if (event.type === 'step') peak = status('VmHWM')
    console.log(peak - before)`
  const { code, stdout, stderr } = await spawnNode(['--input-type=module', '--eval', script], {
    cwd: dirname(configPath)
  })
  if (code !== 0) throw new Error(stderr)
  return Number(stdout)
}

function spawnNode(argv: string[], { onLine, onStart, wrapper = [], cwd }: SpawnOptions): Promise<Finished> {
  const [program, ...before] = [...wrapper, process.execPath]
  const child = spawn(program!, [...before, ...argv], { stdio: ['ignore', 'pipe', 'pipe'], cwd })
  onStart?.(child)
  return new Promise((resolve, reject) => {
    let stdout = ''
    let stderr = ''
    let rest = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      const lines = (rest + text).split('\n')
      rest = lines.pop()!
      for (const line of lines) onLine?.(line, child)
    })
    child.on('error', reject).on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
}

/** Bytes of a file as text, to compare. */
export const bytesOf = (...path: string[]): string => readFileSync(join(...path)).toString('latin1')
