/**
 * Runs what the README shows, in order and as it stands, but for the folder `runs/`, for which the one in the argument is
 * taken; checks that its links lead somewhere. `git clone` and `npm test` are left to whoever calls this.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const work = resolve(process.argv[2] ?? join(root, 'build/readme'))
const ELSEWHERE = /^(git clone|npm test)/

const readme = readFileSync(join(root, 'README.md'), 'utf8')
const problems = brokenLinks()
mkdirSync(work, { recursive: true })
for (const [, language, text] of readme.matchAll(/^```(sh|js)\n(.*?)^```$/gms)) {
  const here = text.replaceAll('runs/', `${work}/`)
  const failed = language === 'js' ? failedProgram(here) : failedCommand(here)
  if (failed) problems.push(failed)
  if (failed) break // what follows builds on it
}
for (const problem of problems) console.error(`README.md: ${problem}`)
if (problems.length > 0) process.exitCode = 1

function brokenLinks() {
  const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)].map(([, link]) => link)
  return links.filter((link) => !/^https?:/.test(link) && !existsSync(join(root, link))).map((link) => `no ${link}`)
}

/** Within the package, so that it can import it by name. */
function failedProgram(text) {
  const file = join(root, 'build/readme-example.mjs')
  writeFileSync(file, text)
  console.log(text)
  return succeeded(process.execPath, [file]) ? undefined : 'the program failed'
}

function failedCommand(text) {
  for (const command of text.split('\n').filter((line) => line && !line.startsWith('#') && !ELSEWHERE.test(line))) {
    console.log(`$ ${command}`)
    if (!succeeded('bash', ['-c', command])) return `failed: ${command}`
  }
  return undefined
}

function succeeded(program, args) {
  // The demonstration's directory is `runs/demo` unless told, and what it promises is checked here.
  const demo = { VLM2VEC_CHECK: 'true', VLM2VEC_OUTPUT: join(work, 'demo') }
  const isDemo = args.at(-1) === 'npm run demo'
  const { status } = spawnSync(program, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...(isDemo && demo) }
  })
  return status === 0
}
