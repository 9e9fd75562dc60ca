/** Formatting: prettier for TypeScript, JavaScript and JSON, clang-format for C++ and CUDA. Without `--write` it only checks. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const write = process.argv.includes('--write')

const listed = spawnSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--deduplicate'], {
  cwd: root,
  encoding: 'utf8'
})
if (listed.status !== 0) throw new Error(`git ls-files failed: ${listed.stderr}`)
const deleted = new Set(
  spawnSync('git', ['ls-files', '-z', '--deleted'], { cwd: root, encoding: 'utf8' }).stdout.split('\0')
)
const files = listed.stdout.split('\0').filter((path) => path && !deleted.has(path))

const scripts = files.filter((path) => /\.(ts|mjs|js|json)$/.test(path) && path !== 'package-lock.json')
const native = files.filter((path) => /\.(h|cpp|cu|cuh)$/.test(path))

const wrong = [...prettier(scripts), ...clangFormat(native)]
if (wrong.length > 0) {
  process.stderr.write(`format: not formatted, \`npm run format\` does it:\n  ${wrong.join('\n  ')}\n`)
  process.exitCode = 1
}

/** The files that are not formatted; none after writing. */
function prettier(paths) {
  const { status, stdout, stderr } = run('prettier/bin/prettier.cjs', [
    write ? '--write' : '--list-different',
    ...paths
  ])
  if (status !== 0 && (write || status > 1)) throw new Error(`prettier failed:\n${stderr}`)
  return write ? [] : stdout.split('\n').filter(Boolean)
}

function clangFormat(paths) {
  if (paths.length === 0) return []
  const { status, stderr } = run('clang-format/index.js', [...(write ? ['-i'] : ['--dry-run', '--Werror']), ...paths])
  const named = new Set([...stderr.matchAll(/^(\S+?):\d+:\d+: error: /gm)].map((match) => match[1]))
  if (status !== 0 && named.size === 0) throw new Error(`clang-format failed:\n${stderr}`)
  return [...named]
}

function run(program, args) {
  return spawnSync(process.execPath, [join(root, 'node_modules', program), ...args], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 28
  })
}
