/** `demo`: runs examples/demo, which uses this package's commands and API as anybody would. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { defineCommand } from '../command.js'
import { Vlm2VecError } from '../errors.js'
import { boolean, flagOf, integer, option, path } from '../options.js'

const script = fileURLToPath(new URL('../../examples/demo/demo.mjs', import.meta.url))

export const command = defineCommand({
  options: {
    output: option(
      path,
      'runs/demo',
      'directory for data, models and the report; an older demonstration there is replaced'
    ),
    seed: option(integer(0, 2 ** 31 - 1), 42, 'of scenes, first weights and order of training'),
    scenes: option(integer(16), 4000, 'scenes to train with; four pictures each'),
    test_scenes: option(integer(20, 600), 200, 'scenes to test with, of seen and of unseen combinations each'),
    steps: option(integer(1), 560, 'steps of training'),
    check: option(boolean, false, 'fail where a meta-task ends below five times chance, or gains less than 20 points')
  },
  examples: ['demo', 'demo --scenes 500 --steps 50 --output runs/small-demo'],
  run: async ({ output, seed, scenes, test_scenes, steps, check, threads }, { signal }) => {
    const given = { output, seed, scenes, test_scenes, steps, threads }
    const flags = Object.entries(given).flatMap(([key, value]) => [`--${flagOf(key)}`, String(value)])
    const code = await run([script, ...flags, ...(check ? ['--check'] : [])], signal)
    if (code !== 0)
      throw new Vlm2VecError(
        signal.aborted ? 'E_ABORTED' : 'E_INTERNAL',
        'The demonstration did not finish; see above.'
      )
  }
})

/** A terminal's Ctrl-C reaches the child by itself; a signal that only this process gets is passed on. */
function run(args: string[], signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] })
    signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true })
    child.on('error', reject).on('exit', (code) => resolve(code ?? 130))
  })
}
