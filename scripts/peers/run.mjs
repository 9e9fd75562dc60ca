/**
 * This project beside others on the same weights and inputs. Each candidate is a process of its own that loads once and
 * waits; their outputs are compared first, then their runs alternate, and ratios of medians are printed, above 1 where this
 * project is faster. `node scripts/peers/run.mjs embed|train|images [flags]`; README.md says what each needs.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { writeInputs } from './inputs.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: 'string', default: 'python3' }, // with requirements.txt
    config: { type: 'string' }, // a config.json; default: the 123M model of `bench`
    folder: { type: 'string', default: 'runs/peers' },
    items: { type: 'string', default: '32' },
    lengths: { type: 'string', default: '32' },
    image: { type: 'string', default: '224' },
    pictures: { type: 'string', default: '1' },
    chunk: { type: 'string', default: '8' },
    rank: { type: 'string', default: '16' },
    photos: { type: 'string' }, // images: a folder of photographs
    threads: { type: 'string', default: String(availableParallelism()) },
    repeats: { type: 'string', default: '10' },
    only: { type: 'string' } // names of candidates, separated by commas
  }
})
const [job] = positionals

/** name, program, arguments; the first one is this project's, which the others are compared with. */
const CANDIDATES = {
  embed: [
    ['ours-f32', process.execPath, 'ours.mjs', 'f32'],
    ['ours-bf16', process.execPath, 'ours.mjs', 'bf16'],
    ['transformers-f32', flags.python, 'torch_peer.py', 'f32'],
    ['transformers-bf16', flags.python, 'torch_peer.py', 'bf16'],
    ['transformers-f32-sorted', flags.python, 'torch_peer.py', 'f32', 'sorted'],
    ['transformers-f32-compiled', flags.python, 'torch_peer.py', 'f32', 'sorted,compiled'],
    ['ours-int8', process.execPath, 'ours.mjs', 'int8'],
    ['onnxruntime-f32', process.execPath, 'onnx_peer.mjs', 'f32'],
    ['onnxruntime-int8', process.execPath, 'onnx_peer.mjs', 'int8'],
    ['transformers.js-f32', process.execPath, 'onnx_peer.mjs', 'f32', 'transformers.js'],
    ['transformers.js-int8', process.execPath, 'onnx_peer.mjs', 'int8', 'transformers.js']
  ],
  train: [
    ['ours-f32', process.execPath, 'ours.mjs', 'f32'],
    ['ours-bf16', process.execPath, 'ours.mjs', 'bf16'],
    ['peft-f32', flags.python, 'torch_peer.py', 'f32'],
    ['peft-bf16', flags.python, 'torch_peer.py', 'bf16']
  ],
  images: [
    ['ours', process.execPath, 'ours.mjs', 'f32'],
    ['pillow-2-processes', flags.python, 'pillow_peer.py', 'f32']
  ]
}

/** On random weights, where int8 is further off than on trained ones. */
const LEAST_COSINE = { f32: 0.9999, bf16: 0.999, int8: 0.98 }
const typeOf = (name) => /bf16|int8/.exec(name)?.[0] ?? 'f32'

/** How far outputs may be from this project's f32: cosine of vectors, relative difference of losses, equal pixels. */
const AGREES = {
  embed: (name, a, b) => leastCosine(a, b) >= LEAST_COSINE[typeOf(name)],
  train: (name, a, b) => Math.abs(a[0] - b[0]) <= (name.includes('bf16') ? 3e-2 : 1e-4) * Math.abs(a[0]),
  images: (_, a, b) => a.length === b.length && a.every((value, i) => value === b[i])
}

if (!CANDIDATES[job]) throw new Error(`expected one of ${Object.keys(CANDIDATES).join(', ')}`)
const folder = resolve(flags.folder)
mkdirSync(folder, { recursive: true })
const settings = { ...flags, job, folder, photos: flags.photos && resolve(flags.photos) }
if (job !== 'images') await writeInputs(settings)

const chosen = CANDIDATES[job].filter(([name], i) => i === 0 || !flags.only || flags.only.split(',').includes(name))
if (chosen.some(([, , script]) => script === 'onnx_peer.mjs')) exportOnnx()
const running = []
let reference
for (const [name, program, script, dtype, variant = ''] of chosen) {
  try {
    const candidate = await start(name, program, [join(here, script)], { ...settings, dtype, variant })
    if (!reference) reference = candidate.output
    else if (!AGREES[job](name, reference, candidate.output)) throw new Error('its output differs; it is not timed')
    running.push(candidate)
  } catch (error) {
    console.error(`${name}: ${error.message}`)
  }
}
for (let i = 0; i < Number(flags.repeats); i++)
  for (const candidate of running) candidate.seconds.push(await candidate.run())
report()
for (const candidate of running) candidate.stop()

/** The graphs of ONNX Runtime's candidates, made again when the weights are newer. Without them only those are left out. */
function exportOnnx() {
  const written = (path) => (existsSync(join(folder, path)) ? statSync(join(folder, path)).mtimeMs : 0)
  if (written('transformers.js/config.json') > written('model/model.safetensors')) return
  const { status } = spawnSync(flags.python, [join(here, 'onnx_export.py'), folder], {
    stdio: ['ignore', 2, 'inherit']
  })
  if (status !== 0) console.error('onnx_export.py failed; see above')
}

/** A line of JSON in, a line out: {"ready", "output"} once, then {"seconds"} for each run. */
async function start(name, program, args, options) {
  const threads = String(options.threads)
  const env = { ...process.env, OMP_NUM_THREADS: threads, MKL_NUM_THREADS: threads }
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ended = new Promise((_, reject) => child.on('error', reject).on('exit', () => reject(new Error('it ended'))))
  ended.catch(() => {})
  const ask = async (message) => {
    child.stdin.write(`${JSON.stringify(message)}\n`)
    for (;;) {
      const { value, done } = await Promise.race([lines.next(), ended])
      if (done) throw new Error('it ended')
      if (value.startsWith('{')) return JSON.parse(value)
    }
  }
  const ready = await ask({ ...options, outputFile: join(folder, `${name}.bin`) })
  const bytes = readFileSync(join(folder, `${name}.bin`))
  const output = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  return {
    name,
    output,
    versions: ready.versions,
    seconds: [],
    mib: 0,
    async run() {
      const { seconds, peak_mib: mib } = await ask({ run: true })
      this.mib = mib
      return seconds
    },
    stop: () => child.kill()
  }
}

function report() {
  console.log(`${job}: ${JSON.stringify({ ...flags, python: undefined })}`)
  console.log(`${cpus()[0].model}, ${flags.threads} threads, load ${loadavg()[0].toFixed(1)} at the end`)
  const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
  for (const { name, seconds, mib, versions } of running) {
    const own = running.find((each) => each.name === `ours-${typeOf(name)}`) ?? running[0]
    const ratio = median(seconds) / median(own.seconds)
    const verdict = own.name === name ? '' : `${ratio.toFixed(2)} x ${own.name}${ratio < 1 ? ' -- we lose' : ''}`
    const range = `${Math.min(...seconds).toFixed(3)} to ${Math.max(...seconds).toFixed(3)}`
    console.log(
      `${name.padEnd(26)} median ${median(seconds).toFixed(3)} s (${range}), peak ${Math.round(mib)} MiB  ${verdict}  ${versions ?? ''}`
    )
  }
}

function leastCosine(a, b) {
  const width = a.length / Number(flags.items)
  let least = a.length === b.length ? 1 : -1
  for (let row = 0; row * width < a.length && least > -1; row++) {
    let [dot, aa, bb] = [0, 0, 0]
    for (let i = row * width; i < (row + 1) * width; i++)
      [dot, aa, bb] = [dot + a[i] * b[i], aa + a[i] ** 2, bb + b[i] ** 2]
    least = Math.min(least, dot / Math.sqrt(aa * bb))
  }
  return least
}
