/**
 * Every test: sets up, runs the native runner and vitest, and ends with one line `N passed, N failed, N skipped` over both.
 * Arguments go to vitest (`npm test -- test/unit/data`); with any, the native tests are left out.
 * VLM2VEC_TEST_DATA names a folder with data/ and reference/ for the tests that want real photographs and tokenizers.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setup } from './setup.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
/** The native tests, those of bf16 products and AMX tiles emulated, and those of the CUDA kernels emulated (test/native/emulation). */
const NATIVE_RUNNERS = [
  { name: 'vlm2vec_test', args: [] },
  ...(process.arch === 'x64' ? ['bf16', 'amx'].map((kind) => ({ name: `vlm2vec_test_${kind}`, args: [] })) : []),
  ...(process.platform === 'linux' ? [{ name: 'vlm2vec_test_emulated', args: ['--filter', '[cuda]'] }] : [])
]

const given = process.argv.slice(2)
try {
  await setup(['native', 'tests', 'types'])
  const results = []
  for (const runner of given.length === 0 ? NATIVE_RUNNERS : []) results.push(await nativeTests(runner))
  results.push(await unitTests(given))
  for (const skip of results.flatMap((each) => each.skips)) console.log(`skipped: ${skip}`)
  const total = (name) => results.reduce((sum, each) => sum + each.counts[name], 0)
  console.log(`${total('passed')} passed, ${total('failed')} failed, ${total('skipped')} skipped`)
  process.exitCode = total('failed') > 0 || total('passed') === 0 ? 1 : 0
} catch (error) {
  console.error(`test: ${error.message}`)
  console.log('0 passed, 1 failed, 0 skipped')
  process.exitCode = 1
}

async function nativeTests({ name, args }) {
  const runner = ['build/cmake', 'build/cmake/Release']
    .map((folder) => join(root, folder, name))
    .find((path) => existsSync(path))
  if (!runner) return failure(`the native test runner ${name} was not built`)
  const { code, output } = await run(runner, args)
  const lines = output.trimEnd().split('\n')
  const match = /(\d+) passed, (\d+) failed, (\d+) skipped/.exec(lines.at(-1))
  if (!match) return failure(`${name} ended without its counts (exit code ${code})`)
  const [passed, failed, skipped] = match.slice(1).map(Number)
  // Whoever exits with an error has failed, whatever was counted.
  return { counts: { passed, failed: failed || Number(code !== 0), skipped }, skips: [] }
}

async function unitTests(args) {
  const folder = mkdtempSync(join(tmpdir(), 'vlm2vec-test-'))
  const countsFile = join(folder, 'counts.json')
  try {
    const reporters = ['--reporter=default', `--reporter=${join(root, 'scripts/test-reporter.mjs')}`]
    const vitest = join(root, 'node_modules/vitest/vitest.mjs')
    const env = { ...process.env, VLM2VEC_TEST_COUNTS: countsFile }
    const { code } = await run(process.execPath, [vitest, 'run', '--root', root, ...reporters, ...args], env)
    if (!existsSync(countsFile)) return failure(`vitest ended without its counts (exit code ${code})`)
    const { counts, skips } = JSON.parse(readFileSync(countsFile, 'utf8'))
    if (code !== 0 && counts.failed === 0) counts.failed = 1
    return { counts, skips }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function failure(reason) {
  console.error(`test: ${reason}`)
  return { counts: { passed: 0, failed: 1, skipped: 0 }, skips: [] }
}

/** Runs a program, shows what it prints, and returns that too. */
function run(command, args, env = process.env) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text
      process.stdout.write(text)
    })
    child.on('error', reject).on('close', (code, signal) => resolve({ code: code ?? signal, output }))
  })
}
