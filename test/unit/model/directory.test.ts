import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { tensorNames } from '../../../src/data/safetensors.js'
import { findDirectory, findModel, weightFiles } from '../../../src/model/directory.js'
import { cachedSnapshot, hubCache } from '../../../src/model/hub/cache.js'

let directory: string
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'directory-'))))
afterEach(() => rmSync(directory, { recursive: true }))

function write(path: string, content: unknown = ''): string {
  const file = join(directory, path)
  mkdirSync(join(file, '..'), { recursive: true })
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
  return file
}

const index = (map: unknown): string => write('model.safetensors.index.json', { weight_map: map })

describe('weightFiles', () => {
  it('takes the single file, or every shard of the index once', async () => {
    await expect(weightFiles(directory)).rejects.toThrow('neither model.safetensors nor')
    const single = write('model.safetensors')
    expect(await weightFiles(directory)).toEqual([single])
    index({ a: '1.safetensors', b: '2.safetensors', c: '1.safetensors' })
    const shards = [write('1.safetensors'), write('2.safetensors')]
    expect(await weightFiles(directory)).toEqual(shards)
  })

  it('names a shard that is missing, and how much it holds', async () => {
    index({ a: '1.safetensors', b: '1.safetensors' })
    await expect(weightFiles(directory)).rejects.toThrow('the shard 1.safetensors, which holds 2 tensors, is missing')
  })

  it('refuses an index that is broken or leads out of the directory', async () => {
    index({})
    await expect(weightFiles(directory)).rejects.toThrow('weight_map is missing or empty')
    index({ a: '../x.safetensors' })
    await expect(weightFiles(directory)).rejects.toThrow('is not a file name')
    write('model.safetensors.index.json', '{')
    await expect(weightFiles(directory)).rejects.toThrow('not valid JSON')
  })

  it("takes PyTorch's files where there are no others, in shards too", async () => {
    const recorded = fileURLToPath(new URL('../data/torch/plain.bin', import.meta.url))
    cpSync(recorded, join(directory, 'pytorch_model.bin'))
    expect(await tensorNames((await weightFiles(directory))[0]!)).toContain('f32')
    cpSync(recorded, join(directory, '1.bin'))
    write('pytorch_model.bin.index.json', { weight_map: { f32: '1.bin' } })
    expect((await weightFiles(directory))[0]).toMatch(/1-[0-9a-f]+\.safetensors$/)
  })
})

describe('findModel', () => {
  const adapter = { peft_type: 'LORA', r: 1, lora_alpha: 1, target_modules: ['x'] }

  it('takes an adapter directory for its base model with that adapter', async () => {
    const weights = write('base-of-run/model.safetensors')
    write('run/adapter_config.json', { ...adapter, base_model_name_or_path: join(directory, 'base-of-run') })
    write('run/adapter_model.safetensors')
    expect(await findModel(join(directory, 'run'))).toMatchObject({
      directory: join(directory, 'base-of-run'),
      weights: [weights],
      adapter: { directory: join(directory, 'run') }
    })
    write('run/adapter_config.json', { ...adapter, base_model_name_or_path: '../base-of-run' })
    expect((await findModel(join(directory, 'run'))).weights).toHaveLength(1)
    write('run/adapter_config.json', adapter)
    await expect(findModel(join(directory, 'run'))).rejects.toThrow('names no base model')
  })

  it('takes base and adapter apart, and leaves an adapter beside weights alone', async () => {
    write('model.safetensors')
    write('lora/adapter_config.json', adapter)
    write('lora/adapter_model.safetensors')
    expect((await findModel(directory)).adapter).toBeUndefined()
    expect((await findModel(directory, directory)).adapter?.directory).toBe(join(directory, 'lora'))
  })
})

describe('findDirectory', () => {
  it('says what is there instead of a directory', async () => {
    const environment = { HF_HOME: directory, HF_HUB_OFFLINE: '1' }
    expect(await findDirectory(directory)).toBe(directory)
    await expect(findDirectory(write('file'))).rejects.toThrow('is a file')
    await expect(findDirectory(join(directory, 'none'))).rejects.toThrow('There is no directory')
    await expect(findDirectory('owner/name', 'model', { environment })).rejects.toThrow('Hugging Face cache')
  })
})

describe('the Hugging Face cache', () => {
  it('lies where the documented variables say', () => {
    expect(hubCache({ HF_HUB_CACHE: '/a', HF_HOME: '/b' })).toBe('/a')
    expect(hubCache({ HF_HOME: '/b' })).toBe('/b/hub')
    expect(hubCache({ XDG_CACHE_HOME: '/c' })).toBe('/c/huggingface/hub')
    expect(hubCache({})).toMatch(/\.cache\/huggingface\/hub$/)
  })

  it('gives the snapshot of main, or the only one', () => {
    const id = { repository: 'o/n', revision: 'main' }
    expect(cachedSnapshot(id, directory)).toBeUndefined()
    write('models--o--n/snapshots/abc/config.json')
    expect(cachedSnapshot(id, directory)).toBe(join(directory, 'models--o--n/snapshots/abc'))
    write('models--o--n/snapshots/def/config.json')
    expect(cachedSnapshot(id, directory)).toBeUndefined()
    write('models--o--n/refs/main', 'def\n')
    expect(cachedSnapshot(id, directory)).toBe(join(directory, 'models--o--n/snapshots/def'))
    expect(cachedSnapshot({ ...id, revision: 'v1' }, directory)).toBeUndefined()
  })
})
