/**
 * Makes a checkout ready: installs what is missing (npm packages; compiler, CMake and libraries on Debian), then builds what is
 * older than its sources. Uses only Node's own modules, returns at once when nothing is missing, and may run twice at a time.
 */
import { spawnSync } from 'node:child_process'
import {
  accessSync,
  constants,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, outdated } from './build.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const OLDEST_NODE = [20, 9]

/** What compiling the addon needs: the Debian package, why, and how to tell that it is there. */
const SYSTEM_PACKAGES = [
  { name: 'g++', why: 'the C++17 compiler', found: () => onPath('g++') || onPath('clang++') || onPath('c++') },
  { name: 'cmake', why: 'drives the native build', found: () => onPath('cmake') },
  { name: 'make', why: 'runs the native build', found: () => onPath('make') || onPath('ninja') },
  {
    name: 'libdnnl-dev',
    why: 'oneDNN, the matrix products',
    found: () => header('dnnl.h') || header('oneapi/dnnl/dnnl.h')
  },
  { name: 'nlohmann-json3-dev', why: 'reads JSON in the engine', found: () => header('nlohmann/json.hpp') }
]

/** Prepares the checkout, `parts` of the build among it. Throws an error that says what to do where it cannot. */
export async function setup(parts = ['native', 'types']) {
  checkNode()
  if (ready(parts)) return
  await withLock(async () => {
    installSystemPackages(missingSystemPackages())
    if (!npmPackagesMatch()) installNpmPackages()
    linkCommand()
    await build({ parts: outdated(parts) })
  })
}

function ready(parts) {
  return missingSystemPackages().length === 0 && npmPackagesMatch() && commandLinked() && outdated(parts).length === 0
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return
  throw new Error(`Node ${OLDEST_NODE.join('.')} or later is needed; this is ${process.versions.node}`)
}

// ---- system packages -----------------------------------------------------------------------------------------------

function missingSystemPackages() {
  if (process.env.VLM2VEC_NATIVE_BINARY) return []
  return SYSTEM_PACKAGES.filter((each) => !each.found())
}

function installSystemPackages(missing) {
  if (missing.length === 0) return
  const names = missing.map((each) => each.name)
  const list = missing.map((each) => `  ${each.name}: ${each.why}`).join('\n')
  const isRoot = process.getuid?.() === 0
  if (!onPath('apt-get') || !isRoot) {
    const how = onPath('apt-get')
      ? `Run as root: apt-get update && apt-get install --no-install-recommends ${names.join(' ')}`
      : 'Install them with the package manager of this system (the names are those of Debian).'
    throw new Error(
      `To build the native addon, these packages are missing:\n${list}\n${how}\nThen run \`npm run setup\` again.`
    )
  }
  say(`Installing what the native build needs, with apt-get:\n${list}`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const patience = ['-o', 'DPkg::Lock::Timeout=600', '-o', 'Acquire::Retries=3']
  run('apt-get', ['update', '-q', ...patience], { env })
  run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...patience, ...names], { env })
}

function onPath(program) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function header(path) {
  const prefixes = [
    ...(process.env.CMAKE_PREFIX_PATH ?? '').split(delimiter),
    '/usr',
    '/usr/local',
    '/opt/homebrew',
    '/opt/local'
  ]
  const folders = [
    ...(process.env.CPATH ?? '').split(delimiter),
    ...prefixes.filter(Boolean).map((each) => join(each, 'include'))
  ]
  return folders.filter(Boolean).some((folder) => existsSync(join(folder, path)))
}

// ---- npm packages --------------------------------------------------------------------------------------------------

/** Every package of package-lock.json is installed in its version; those for other platforms may be absent. */
function npmPackagesMatch() {
  const installedFile = join(root, 'node_modules/.package-lock.json')
  if (!existsSync(installedFile)) return false
  const wanted = readJson(join(root, 'package-lock.json')).packages
  const installed = readJson(installedFile).packages
  return Object.entries(wanted).every(
    ([path, entry]) => path === '' || installed[path]?.version === entry.version || (entry.optional && !installed[path])
  )
}

function installNpmPackages() {
  say('Installing npm packages (npm ci)')
  run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund'])
}

const commandLink = join(root, 'node_modules/.bin/vlm2vec-native')

function commandLinked() {
  return lstatSync(commandLink, { throwIfNoEntry: false }) !== undefined
}

/** npm links the commands of a package's dependencies, not its own: with this, `npx vlm2vec-native` works in a checkout. */
function linkCommand() {
  if (!commandLinked()) symlinkSync('../../dist/cli.js', commandLink)
}

// ---- shared --------------------------------------------------------------------------------------------------------

/** Runs `action` while no other setup of this checkout runs. A lock whose owner is gone is taken over. */
async function withLock(action) {
  const lock = join(root, 'build/setup.lock')
  mkdirSync(join(root, 'build'), { recursive: true })
  let told = false
  while (!takeLock(lock)) {
    if (!told) say('Another setup is running in this checkout; waiting for it')
    told = true
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
  try {
    await action()
  } finally {
    rmSync(lock, { force: true })
  }
}

function takeLock(lock) {
  try {
    writeFileSync(lock, String(process.pid), { flag: 'wx' })
    return true
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
  }
  const age = Date.now() - (lstatSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now())
  const owner = readOwner(lock)
  // A lock without a number is being written right now, unless it has been so for long.
  if (owner ? !alive(owner) : age > 5000) removeStale(lock, owner)
  return false
}

/** Moved aside first, and put back if it turns out that somebody else took it over in the meantime. */
function removeStale(lock, owner) {
  const aside = `${lock}.${process.pid}`
  try {
    renameSync(lock, aside)
    if (readOwner(aside) !== owner) linkSync(aside, lock)
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'EEXIST') throw error
  }
  rmSync(aside, { force: true })
}

function readOwner(lock) {
  try {
    return Number(readFileSync(lock, 'utf8'))
  } catch {
    return 0
  }
}

function alive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options })
  if (result.error) throw new Error(`${command} could not be started: ${result.error.message}`)
  if (result.status !== 0)
    throw new Error(`${command} ${args.join(' ')} failed (${result.signal ?? `exit code ${result.status}`})`)
}

function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'))
}

function say(text) {
  process.stderr.write(`setup: ${text}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  setup().catch((error) => {
    say(error.message)
    process.exitCode = 3
  })
}
