/**
 * Builds the addon and the native test runner (CMake, driven by cmake-js) and the JavaScript (tsc).
 * `node scripts/build.mjs [--cuda|--no-cuda] [--native] [--tests] [--types] [--jobs N]`; without a part, all are built.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync
} from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = fileURLToPath(new URL('..', import.meta.url))
const BYTES_PER_JOB = 1.5 * 2 ** 30 // what one compiler process may take

/** Each part: what it is made from, what must be there afterwards, and for native ones what CMake builds (absent: everything). */
const PARTS = {
  native: {
    inputs: ['native', 'CMakeLists.txt', 'package-lock.json'],
    outputs: ['build/Release/vlm2vec_native.node'],
    target: 'vlm2vec_native'
  },
  tests: {
    inputs: ['native', 'test/native', 'CMakeLists.txt', 'package-lock.json'],
    outputs: ['build/cmake/vlm2vec_test']
  },
  types: { inputs: ['src', 'tsconfig.json', 'package-lock.json'], outputs: ['dist/cli.js', 'dist/index.js'] }
}

/** Those of `parts` that are missing, or older than what they are made from. */
export function outdated(parts) {
  return parts.filter((part) => {
    if (part === 'native' && process.env.VLM2VEC_NATIVE_BINARY) return false
    const built = PARTS[part].outputs.every((path) => existsSync(join(root, path)))
    return !built || !existsSync(stampOf(part)) || readFileSync(stampOf(part), 'utf8') !== fingerprint(part)
  })
}

/** Builds `parts`; throws where one fails. `cuda`: 'AUTO', 'ON' or 'OFF'. */
export async function build({ parts = Object.keys(PARTS), cuda = 'AUTO', jobs = defaultJobs() } = {}) {
  for (const part of parts) {
    const before = fingerprint(part)
    rmSync(stampOf(part), { force: true })
    if (part === 'types') buildTypes()
    else buildNative(cuda, jobs, PARTS[part].target)
    mkdirSync(join(root, 'build'), { recursive: true })
    writeFileSync(stampOf(part), before)
  }
}

function buildNative(cuda, jobs, target) {
  say(`compiling ${target ?? 'the addon and the native tests'} (${jobs} at a time)`)
  // A folder of its own: node-gyp writes a Makefile into build/.
  const flags = ['--out', 'build/cmake', '--config', 'Release', `--CDVLM2VEC_CUDA=${cuda}`]
  run('cmake-js/bin/cmake-js', ['configure', ...flags])
  run('cmake-js/bin/cmake-js', ['build', ...flags, '--parallel', String(jobs), ...(target ? ['--target', target] : [])])
  // Renamed into place, so that a process that has the old one loaded keeps it.
  const [addon] = PARTS.native.outputs.map((path) => join(root, path))
  mkdirSync(dirname(addon), { recursive: true })
  copyFileSync(join(root, 'build/cmake/Release', basename(addon)), `${addon}.new`)
  renameSync(`${addon}.new`, addon)
}

function buildTypes() {
  say('compiling TypeScript')
  run('typescript/bin/tsc', ['--project', 'tsconfig.json'])
  const dist = join(root, 'dist')
  for (const path of filesUnder(dist)) {
    const source = join(root, 'src', relative(dist, path).replace(/\.(js|js\.map|d\.ts)$/, '.ts'))
    if (!existsSync(source)) rmSync(path)
  }
  chmodSync(join(dist, 'cli.js'), 0o755)
}

function defaultJobs() {
  return Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / BYTES_PER_JOB)))
}

function stampOf(part) {
  return join(root, 'build', `${part}.stamp`)
}

/** Changes whenever an input file is added, removed or written. */
function fingerprint(part) {
  const hash = createHash('sha256')
  for (const input of PARTS[part].inputs)
    for (const path of filesUnder(join(root, input))) {
      const { mtimeMs, size } = statSync(path)
      hash.update(`${relative(root, path)} ${mtimeMs} ${size}\n`)
    }
  return hash.digest('hex')
}

function filesUnder(path) {
  if (!existsSync(path)) return []
  if (!statSync(path).isDirectory()) return [path]
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort()
}

/** Runs the program of an installed package, without npx, which takes half a second by itself. */
function run(program, args) {
  const result = spawnSync(process.execPath, [join(root, 'node_modules', program), ...args], {
    cwd: root,
    stdio: ['ignore', 2, 2]
  })
  if (result.error) throw result.error
  if (result.status !== 0)
    throw new Error(`${program.split('/').at(-1)} failed (exit code ${result.status}); see above`)
}

function say(text) {
  process.stderr.write(`build: ${text}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      cuda: { type: 'boolean' },
      'no-cuda': { type: 'boolean' },
      native: { type: 'boolean' },
      tests: { type: 'boolean' },
      types: { type: 'boolean' },
      jobs: { type: 'string' }
    }
  })
  const chosen = Object.keys(PARTS).filter((part) => values[part])
  build({
    ...(chosen.length > 0 && { parts: chosen }),
    ...(values.jobs && { jobs: Number(values.jobs) }),
    cuda: values.cuda ? 'ON' : values['no-cuda'] ? 'OFF' : 'AUTO'
  }).catch((error) => {
    say(error.message)
    process.exitCode = 1
  })
}
