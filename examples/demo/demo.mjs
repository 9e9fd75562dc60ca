/**
 * The demonstration: draws a data set, makes a small Qwen2-VL from scratch, trains it, tests it on scenes that it has never
 * seen, and searches with it. It uses the package as anybody would: its commands, and its API.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { writeBaseModel } from '../base-model.mjs'
import { Random } from '../random.mjs'
import { trainTokenizer } from '../tokenizer.mjs'
import { writeDataSet } from './data-set.mjs'
import { htmlReport } from './report.mjs'
import { readResults, textTable } from './results.mjs'
import { searchExamples } from './search.mjs'
import { TASKS, textsOf } from './tasks.mjs'

const COMMAND = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))
/** Written first; a directory without it is somebody else's and is never emptied. */
const MARKER = 'demo.json'

const SIZES = {
  text: { width: 128, layers: 3, heads: 4, keyValueHeads: 2, mlpWidth: 384 },
  vision: { width: 128, depth: 3, heads: 4, mlpRatio: 4, patch: 14 }
}
const PIXELS = { min: 56 * 56, max: 56 * 56 }

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '42' },
    scenes: { type: 'string', default: '4000' },
    'test-scenes': { type: 'string', default: '200' },
    steps: { type: 'string', default: '560' },
    output: { type: 'string', default: 'runs/demo' },
    threads: { type: 'string', default: '0' },
    check: { type: 'boolean', default: false }
  }
})
const number = (name, least) => {
  const value = Number(values[name])
  if (Number.isSafeInteger(value) && value >= least) return value
  stop(`Expected a whole number of at least ${least} for --${name}, received ${values[name]}.`, 2)
}
const options = {
  seed: number('seed', 0),
  scenes: number('scenes', 16),
  testScenes: number('test-scenes', 20),
  steps: number('steps', 1),
  threads: number('threads', 0)
}
const output = values.output
const started = performance.now()

prepareOutput()
const parts = await stage('Drawing scenes', () => writeDataSet(join(output, 'data'), options))
const parameters = await stage('Making the base model', makeBaseModel)
writeConfigs()
await stage('Testing the untrained model', () => evaluate('base', 'before'))
await stage('Training', () => run('train', '--config', join(output, 'train.json')))
await stage('Testing the trained model', () => evaluate('run/final', 'after'))
const searches = await stage('Searching', () =>
  searchExamples({
    model: join(output, 'run/final'),
    directory: join(output, 'data'),
    parts,
    random: new Random(options.seed, 2)
  })
)
report()

// ---- stages ----------------------------------------------------------------------------------------------------------

function prepareOutput() {
  if (existsSync(output) && !existsSync(join(output, MARKER)))
    stop(`${output} exists and holds no demonstration; give another --output.`, 2)
  rmSync(output, { recursive: true, force: true })
  mkdirSync(output, { recursive: true })
  writeFileSync(join(output, MARKER), `${JSON.stringify(options, null, 2)}\n`)
}

function makeBaseModel() {
  const tokenizer = trainTokenizer(textsOf(parts.train))
  const random = new Random(options.seed, 1)
  return writeBaseModel(join(output, 'base'), { tokenizer, sizes: SIZES, pixels: PIXELS, random })
}

/** JSON is YAML too, and needs no library to write. Paths in a config file start from its folder. */
function writeConfigs() {
  const train = {
    model: { path: 'base', dtype: 'f32', device: 'cpu' },
    tune: { mode: 'full' },
    data: Object.entries(TASKS).map(([name, { weight = 1 }]) => ({
      name,
      path: `data/train-${name}.jsonl`,
      weight
    })),
    train: {
      batch_size: 64,
      chunk_size: 64,
      max_steps: options.steps,
      learning_rate: 1e-3,
      schedule: 'cosine',
      warmup_steps: Math.ceil(options.steps / 20),
      temperature: 0.05,
      seed: options.seed
    },
    output: { dir: 'run', save_every: 0 }
  }
  const tasks = Object.entries(TASKS).flatMap(([name, { metaTask }]) =>
    ['seen', 'unseen'].map((part) => ({
      name: `${name}-${part}`,
      meta_task: metaTask,
      split: part === 'seen' ? 'ind' : 'ood',
      path: `data/${name}-${part}.jsonl`
    }))
  )
  writeFileSync(join(output, 'train.json'), `${JSON.stringify(train, null, 2)}\n`)
  writeFileSync(join(output, 'tasks.json'), `${JSON.stringify({ tasks }, null, 2)}\n`)
}

function evaluate(model, folder) {
  run(
    'evaluate',
    '--model',
    join(output, model),
    '--config',
    join(output, 'tasks.json'),
    '--output',
    join(output, folder)
  )
}

function report() {
  const results = readResults(output)
  const losses = readFileSync(join(output, 'run/metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const seconds = Math.round((performance.now() - started) / 1000)
  const pictures = 4 * (parts.train.length + parts.seen.length + parts.unseen.length)
  const facts = [
    ['parameters', parameters.toLocaleString('en')],
    ['pictures', pictures.toLocaleString('en')],
    ['training steps', String(options.steps)],
    ['time', `${Math.floor(seconds / 60)} min ${seconds % 60} s`],
    ['CPU cores', String(options.threads || availableParallelism())],
    ['seed', String(options.seed)]
  ]
  const file = join(output, 'report.html')
  writeFileSync(file, htmlReport({ directory: join(output, 'data'), facts, results, losses, searches }))
  writeFileSync(join(output, 'results.json'), `${JSON.stringify({ seconds, ...results }, null, 2)}\n`)
  console.log(`\nFirst answers that are right, on scenes never seen in training:\n\n${textTable(results)}\n`)
  console.log(`Report: ${file} (${facts[3][1]})`)
  const missed = results.metaTasks.filter(({ reached }) => !reached)
  for (const { metaTask, part } of values.check ? missed : [])
    console.error(`Not reached: ${metaTask}, ${part} combinations`)
  if (values.check && missed.length > 0) process.exitCode = 1
}

// ---- running ---------------------------------------------------------------------------------------------------------

async function stage(name, action) {
  process.stderr.write(`\n== ${name}\n`)
  const before = performance.now()
  const result = await action()
  process.stderr.write(`   ${((performance.now() - before) / 1000).toFixed(1)} s\n`)
  return result
}

/** Runs a command of the package; its results are for this program, its progress for the reader. */
function run(...args) {
  const common = ['--threads', String(options.threads)]
  const { status, signal, error } = spawnSync(process.execPath, [COMMAND, ...args, ...common], {
    stdio: ['ignore', 'ignore', 'inherit']
  })
  if (error) throw error
  if (status !== 0) stop(`vlm2vec-native ${args[0]} failed (${signal ?? `exit code ${status}`})`, status ?? 130)
}

function stop(message, code) {
  console.error(message)
  process.exit(code)
}
