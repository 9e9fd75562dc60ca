/**
 * Trains a small Qwen2-VL from scratch on a folder of classes, tests its checkpoints, and draws the learning curve:
 *
 *   node examples/cifar10/run.mjs PICTURES [--output runs/cifar10] [--threads N] [--prepare]
 *
 * PICTURES holds train/<class>/* and test/<class>/*. With --prepare, everything is written but nothing is trained.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { writeBaseModel } from '../base-model.mjs'
import { curve } from '../curve.mjs'
import { Random } from '../random.mjs'
import { trainTokenizer } from '../tokenizer.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))
const COMMAND = join(here, '../../dist/cli.js')
const INSTRUCTION = 'What is this?'
const SIZES = {
  text: { width: 192, layers: 4, heads: 6, keyValueHeads: 2, mlpWidth: 512 },
  vision: { width: 128, depth: 3, heads: 4, mlpRatio: 3, patch: 4 }
}
/** 32 x 32 pictures stay as they are, and crops of them are enlarged to that: 64 patches, 16 tokens. */
const PIXELS = { min: 31 * 31, max: 33 * 33 }
/** Test pictures for the checkpoints on the way; the last one is tested on all. */
const TESTED = 1000

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    output: { type: 'string', default: 'runs/cifar10' },
    threads: { type: 'string', default: '0' },
    prepare: { type: 'boolean', default: false }
  }
})
const [pictures] = positionals
if (!pictures || !existsSync(join(pictures, 'train')) || !existsSync(join(pictures, 'test')))
  stop('Give a folder that holds train/<class>/* and test/<class>/*.', 2)
const output = values.output

prepare()
if (!values.prepare) {
  run('train', '--config', join(output, 'train.yaml'))
  drawCurve(testCheckpoints())
}

// ---- preparing -------------------------------------------------------------------------------------------------------

function prepare() {
  mkdirSync(output, { recursive: true })
  for (const part of ['train', 'test'])
    run(
      'data',
      'image-folder',
      join(pictures, part),
      '--output',
      join(output, `${part}.jsonl`),
      '--instruction',
      INSTRUCTION
    )
  const test = readLines(join(output, 'test.jsonl'))
  const names = [...new Set(test.map(({ target }) => target.text))]
  writeFileSync(join(output, 'test-mmeb.jsonl'), evaluationRows(test, names))
  writeFileSync(
    join(output, 'tasks.yaml'),
    '- { name: cifar10, meta_task: classification, path: test-mmeb.jsonl, candidates: local }\n'
  )
  copyFileSync(join(here, 'train.yaml'), join(output, 'train.yaml'))
  const tokenizer = trainTokenizer([...names, ...names, INSTRUCTION, INSTRUCTION])
  const parameters = writeBaseModel(join(output, 'base'), {
    tokenizer,
    sizes: SIZES,
    pixels: PIXELS,
    random: new Random(42)
  })
  console.log(`${output}: ${names.length} classes, base model of ${parameters.toLocaleString('en')} parameters`)
}

/** In turn from every class, so that the first rows are a fair sample. The right name comes first. */
function evaluationRows(test, names) {
  const classes = names.map((name) => test.filter(({ target }) => target.text === name))
  const longest = Math.max(...classes.map((each) => each.length))
  const mixed = Array.from({ length: longest }, (_, i) => classes.map((each) => each[i]).filter(Boolean)).flat()
  const rows = mixed.map(({ query, target }) => ({
    qry_inst: query.instruction,
    qry_img_path: query.images[0],
    tgt_text: [target.text, ...names.filter((name) => name !== target.text)]
  }))
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('')
}

// ---- testing ---------------------------------------------------------------------------------------------------------

/** [[step, percent right], ...] of the base model and every checkpoint. */
function testCheckpoints() {
  const steps = readdirSync(join(output, 'run'))
    .flatMap((name) => /^checkpoint-(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b)
  const points = [[0, test('base', TESTED)]]
  for (const step of steps.slice(0, -1)) points.push([step, test(`run/checkpoint-${step}`, TESTED)])
  return [...points, [steps.at(-1), test('run/final', 0)]]
}

function test(model, limit) {
  const scores = join(output, 'scores', model)
  const flags = ['--config', join(output, 'tasks.yaml'), '--output', scores, '--limit', String(limit)]
  run('evaluate', '--model', join(output, model), ...flags)
  const score = JSON.parse(readFileSync(join(scores, 'cifar10_score.json'), 'utf8'))
  return 100 * score['hit@1']
}

function drawCurve(points) {
  const file = join(output, 'curve.svg')
  writeFileSync(file, curve({ series: [{ points }], x: 'step', y: 'test pictures named right, %' }))
  const seconds = readLines(join(output, 'run/metrics.jsonl')).reduce(
    (sum, { examples_per_second: rate }, _, { length }) => sum + 1 / rate / length,
    0
  )
  for (const [step, percent] of points) console.log(`step ${String(step).padStart(5)}: ${percent.toFixed(1)} %`)
  console.log(`${relative('.', file)}: the learning curve; ${(1000 * seconds).toFixed(2)} ms a training picture`)
}

// ---- running ---------------------------------------------------------------------------------------------------------

function run(...args) {
  const threads = args[0] === 'data' ? [] : ['--threads', values.threads]
  const { status, error } = spawnSync(process.execPath, [COMMAND, ...args, ...threads], { stdio: ['ignore', 2, 2] })
  if (error) throw error
  if (status !== 0) stop(`vlm2vec-native ${args[0]} failed`, status ?? 130)
}

function readLines(path) {
  return readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

function stop(message, code) {
  console.error(message)
  process.exit(code)
}
