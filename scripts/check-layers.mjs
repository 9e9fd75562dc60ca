/**
 * Who may import whom, in TypeScript and in native code, and how long files are. Wrong imports fail; files over their
 * size budget are listed.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * TypeScript, from the top of the data flow to the bottom: a folder imports from itself and from what is below. Files that
 * lie in src itself (errors.ts, native.ts, the option tables) are below all folders, except for these two.
 */
const LAYERS = [
  ['cli'],
  ['commands'],
  ['bench'],
  ['index'],
  ['train', 'search', 'serve'],
  ['evaluate'],
  ['model'],
  ['preprocess'],
  ['data']
]
/** What native.ts exports lies below all folders as it does itself. */
const BELOW = new Set(['native'])
/** Types that describe values of every stage: importable from anywhere, as types. */
const SHARED_TYPES = new Set(['model/config', 'preprocess/prepared', 'data/item'])

/** Readers of the small files of a model directory. They import nothing of the stages, so every stage may read with them. */
const LEAVES = new Set([
  'model/config',
  'model/preset',
  'model/presets',
  'model/recognise',
  'model/sentence-transformers'
])

/** Native code: napi -> bench -> train -> model -> ops -> core. */
const NATIVE_LAYERS = ['napi', 'bench', 'train', 'model', 'ops', 'core']

const WARN_LINES = { ts: 250, mjs: 400, cpp: 400, h: 400, cu: 400 }

const problems = [...typescriptProblems(), ...nativeProblems()]
const long = longFiles()
for (const each of long) console.log(`long: ${each}`)
for (const each of problems) console.error(each)
console.log(`layers: ${problems.length} wrong imports, ${long.length} files over their size budget`)
if (problems.length > 0) process.exitCode = 1

// ---- TypeScript ------------------------------------------------------------------------------------------------------

function typescriptProblems() {
  const found = []
  for (const path of filesUnder('src', /\.ts$/)) {
    const from = folderOf(path)
    if (levelOf(from) < 0 && !BELOW.has(from) && path.split('/').length > 2)
      found.push(`${path}: folder ${from} has no layer; add it to scripts/check-layers.mjs`)
    for (const { specifier, typeOnly } of importsOf(path)) {
      if (!specifier.startsWith('.')) continue
      const target = normalize(join(dirname(path), specifier)).replace(/\.js$/, '.ts')
      const to = folderOf(target)
      const name = target.replace(/^src\//, '').replace(/\.ts$/, '')
      const shared = LEAVES.has(name) || (typeOnly && SHARED_TYPES.has(name))
      if (from === to || shared || levelOf(to) < 0) continue
      if (levelOf(from) < 0 || levelOf(from) > levelOf(to))
        found.push(`${path}: ${from} may not import ${specifier}; ${to} is above it`)
      else if (levelOf(from) === levelOf(to))
        found.push(`${path}: ${from} may not import ${specifier}; they are side by side`)
    }
  }
  return found
}

function importsOf(path) {
  const text = read(path)
  const statements = text.matchAll(/^\s*(import|export)\s+(type\s+)?(?:[^'"`;]*?from\s+)?'([^']+)'/gm)
  const dynamic = text.matchAll(/\bimport\('([^']+)'\)/g)
  return [
    ...[...statements].map((match) => ({ specifier: match[3], typeOnly: Boolean(match[2]) })),
    ...[...dynamic].map((match) => ({ specifier: match[1], typeOnly: false }))
  ]
}

/** The first folder below src, or the file's name where it lies in src itself. */
function folderOf(path) {
  return path.split('/')[1].replace(/\.ts$/, '')
}

function levelOf(folder) {
  return LAYERS.findIndex((layer) => layer.includes(folder))
}

// ---- native ----------------------------------------------------------------------------------------------------------

function nativeProblems() {
  const found = []
  for (const path of filesUnder('native', /\.(h|cpp|cu)$/)) {
    const layer = path.split('/')[1]
    for (const [, header] of read(path).matchAll(/^\s*#\s*include\s+[<"]([^>"]+)[>"]/gm)) {
      if (/^napi/.test(header) && layer !== 'napi') found.push(`${path}: only native/napi includes ${header}`)
      const cudaFile = path.endsWith('.cu') || /^native\/core\/cuda[^/]*\.h$/.test(path)
      if (/^(cuda|cublas|nccl)/.test(header) && !cudaFile)
        found.push(`${path}: only .cu files and core/cuda*.h include ${header}`)
      const to = NATIVE_LAYERS.indexOf(header.split('/')[0])
      if (to >= 0 && header.includes('/') && to < NATIVE_LAYERS.indexOf(layer))
        found.push(`${path}: ${layer} may not include ${header}`)
    }
  }
  return found
}

// ---- shared ----------------------------------------------------------------------------------------------------------

function longFiles() {
  return ['src', 'native', 'scripts', 'test', 'examples']
    .flatMap((folder) => filesUnder(folder, /\.(ts|mjs|h|cpp|cu)$/))
    .map((path) => ({ path, lines: read(path).split('\n').length - 1 }))
    .filter(({ path, lines }) => lines > WARN_LINES[path.split('.').at(-1)])
    .map(({ path, lines }) => `${path}: ${lines} lines`)
}

function filesUnder(folder, pattern) {
  let entries
  try {
    entries = readdirSync(join(root, folder), { recursive: true })
  } catch (error) {
    if (error.code === 'ENOENT') return []
    throw error
  }
  return entries
    .map((path) => join(folder, path).split(sep).join('/'))
    .filter((path) => pattern.test(path) && !path.includes('node_modules/'))
    .sort()
}

function read(path) {
  return readFileSync(join(root, path), 'utf8')
}
