/** Adapters given to `embed`: where they are looked for, and what is said of one that does not fit. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { embedRows, temporaryFolder } from './golden.js'
import { runCli } from './run-cli.js'
import { writeAdapted, writeAdapter } from './tiny.js'

const folder = temporaryFolder()
const path = (...names: string[]): string => join(folder, ...names)
const input = ['--input', path('items.jsonl')]
beforeAll(() => writeAdapted(folder))

describe('an adapter', () => {
  const embed = (...flags: string[]): Promise<Float32Array[]> => embedRows(folder, ...input, ...flags)

  it('is found in a directory that holds nothing else, with its base, and in a folder of a repository', async () => {
    const adapted = await embed('--model', path('base'), '--adapter', path('adapter'))
    expect(adapted).not.toEqual(await embed('--model', path('base')))
    expect(await embed('--model', path('adapter'))).toEqual(adapted)
    writeAdapter(path('repository', 'lora'), path('base'))
    expect(await embed('--model', path('base'), '--adapter', path('repository'))).toEqual(adapted)
  })
})

describe('an adapter that does not fit', () => {
  const embed = (adapter: string) =>
    runCli(['embed', '--model', path('base'), '--adapter', adapter, ...input, '--output', '-'])

  it.each([
    ['a target that no module has', { target_modules: ['q_porj'] }, 'match no module'],
    ['a feature that would change numbers', { modules_to_save: ['lm_head'] }, 'modules_to_save'],
    ['another rank than its tensors', { r: 4 }, 'lora_']
  ])('by %s is an error of the model, with exit code 4', async (_, config, message) => {
    writeAdapter(path('misfit'), path('base'), config)
    const { code, stderr } = await embed(path('misfit'))
    expect([code, stderr]).toEqual([4, expect.stringContaining(message)])
  })

  it('by broken tensors names the file', async () => {
    writeAdapter(path('cut'), path('base'))
    const file = path('cut', 'adapter_model.safetensors')
    writeFileSync(file, readFileSync(file).subarray(0, 300))
    const { code, stderr } = await embed(path('cut'))
    expect([code, stderr]).toEqual([4, expect.stringContaining(file)])
  })
})
