import { existsSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseHubId } from '../../../src/hub-id.js'
import { smallFiles, weightFiles } from '../../../src/model/hub/needed-files.js'
import { snapshotOf } from '../../../src/model/hub/snapshot.js'
import { COMMIT, startHub, type HubServer } from './hub-server.js'

const WEIGHTS = Buffer.alloc(50_000, 'weights')
const FILES = {
  'config.json': '{}',
  'tokenizer_config.json': '{}',
  'tokenizer.json': '{"é": 1}',
  'README.md': '# card',
  'model.safetensors': WEIGHTS,
  'model.fp16.safetensors': 'other',
  'onnx/model.onnx': 'other',
  'pytorch_model.bin': 'other',
  'trainer_state.json': 'other',
  'lora/adapter_config.json': '{"peft_type": "LORA"}',
  'lora/adapter_model.safetensors': 'adapter',
  '1_Pooling/config.json': '{}'
}
const ID = { repository: 'owner/name', revision: 'main' }

let home: string
let hub: HubServer
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'hub-'))
  hub = await startHub({
    'owner/name': FILES,
    'owner/sharded': {
      ...FILES,
      'model.safetensors.index.json': '{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}',
      '1.safetensors': '1',
      '2.safetensors': '2',
      '3.safetensors': 'other'
    },
    'owner/empty': { 'README.md': '' }
  })
  hub.large.add('model.safetensors')
})
afterEach(async () => {
  await hub.close()
  rmSync(home, { recursive: true })
})

const environment = (more: object = {}): NodeJS.ProcessEnv => ({ HF_HOME: home, HF_ENDPOINT: hub.endpoint, ...more })
const get = (use: 'model' | 'adapter' = 'model', id = ID, more: object = {}): Promise<string> =>
  snapshotOf(id, use, { environment: environment(more) })
const folder = (...path: string[]): string => join(home, 'hub', 'models--owner--name', ...path)

describe('a hub id', () => {
  it('is owner/name, with a revision if one is asked for', () => {
    expect(parseHubId('o/n')).toEqual({ repository: 'o/n', revision: 'main' })
    expect(parseHubId('o/n-1.5B@refs/pr/1')).toEqual({ repository: 'o/n-1.5B', revision: 'refs/pr/1' })
    for (const no of ['n', './n', '../n', 'o/../n', 'o/n/m', '/o/n', 'o/n@', 'o/n@../x'])
      expect(parseHubId(no)).toBe(undefined)
  })
})

describe('what is needed of a repository', () => {
  const names = Object.keys(FILES)
  it('is what a directory is read by, and one form of the weights', () => {
    expect(smallFiles(names)).toEqual([
      'config.json',
      'tokenizer_config.json',
      'tokenizer.json',
      'README.md',
      'lora/adapter_config.json',
      '1_Pooling/config.json'
    ])
    expect(weightFiles(names, 'model')).toEqual(['model.safetensors'])
    expect(weightFiles(names, 'adapter')).toEqual(['lora/adapter_model.safetensors'])
    expect(weightFiles(['pytorch_model.bin'], 'model')).toEqual(['pytorch_model.bin'])
    expect(weightFiles(['adapter_config.json', 'adapter_model.bin'], 'model')).toEqual(['adapter_model.bin'])
  })
})

describe('a model of the hub', () => {
  it('is downloaded once, in the layout of the Hugging Face cache', async () => {
    const directory = await get()
    expect(directory).toBe(folder('snapshots', COMMIT))
    expect(readFileSync(join(directory, 'model.safetensors'))).toEqual(WEIGHTS)
    expect(readFileSync(join(directory, 'tokenizer.json'), 'utf8')).toBe(FILES['tokenizer.json'])
    expect(readlinkSync(join(directory, 'config.json'))).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/)
    expect(readlinkSync(join(directory, '1_Pooling/config.json'))).toMatch(/^\.\.\/\.\.\/\.\.\/blobs\//)
    expect(readFileSync(folder('refs', 'main'), 'utf8')).toBe(COMMIT)
    for (const name of ['onnx', 'pytorch_model.bin', 'trainer_state.json', 'lora/adapter_model.safetensors'])
      expect(existsSync(join(directory, name)), name).toBe(false)
    const asked = hub.requests.length
    expect(await get()).toBe(directory)
    expect(await get('model', ID, { HF_HUB_OFFLINE: '1' })).toBe(directory)
    expect(hub.requests.length).toBe(asked)
  })

  it('as an adapter is only its adapter, and the model later adds only what is missing', async () => {
    const directory = await get('adapter')
    expect(existsSync(join(directory, 'lora/adapter_model.safetensors'))).toBe(true)
    expect(existsSync(join(directory, 'model.safetensors'))).toBe(false)
    hub.requests.length = 0
    await get()
    expect(hub.requests).toEqual([
      'INFO owner/name main',
      'HEAD model.safetensors',
      'GET model.safetensors',
      'GET model.safetensors'
    ])
  })

  it('in shards is what its index names', async () => {
    const directory = await get('model', { ...ID, repository: 'owner/sharded' })
    expect(['1', '2', '3'].map((n) => existsSync(join(directory, `${n}.safetensors`)))).toEqual([true, true, false])
  })

  it('of another revision has a reference of its own', async () => {
    await get('model', { ...ID, revision: 'v1' })
    expect(existsSync(folder('refs', 'main'))).toBe(false)
    expect(readFileSync(folder('refs', 'v1'), 'utf8')).toBe(COMMIT)
    await expect(get('model', { ...ID, revision: 'v9' })).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringContaining('revision v9 (404')
    })
  })

  it('goes on after a connection that breaks', async () => {
    hub.breaks.set('model.safetensors', [20_000, 10_000])
    const directory = await get()
    expect(readFileSync(join(directory, 'model.safetensors'))).toEqual(WEIGHTS)
    expect(hub.requests.some((each) => /^GET model.safetensors bytes=\d{5}-$/.test(each))).toBe(true)
  })

  it('goes on where an earlier process was killed, and leaves nothing half written under its name', async () => {
    hub.breaks.set('model.safetensors', [100, 0, 0, 0, 0])
    await expect(get()).rejects.toMatchObject({
      code: 'E_IO',
      message: expect.stringContaining('goes on where it stopped')
    })
    expect(existsSync(folder('snapshots', COMMIT, 'model.safetensors'))).toBe(false)
    expect(existsSync(folder('refs', 'main'))).toBe(false)
    hub.requests.length = 0
    await get()
    expect(hub.requests).toContain('GET model.safetensors bytes=100-')
  })

  it('whose bytes are not what the hub names is downloaded again', async () => {
    const blob = (await get()) && readlinkSync(folder('snapshots', COMMIT, 'model.safetensors'))
    const path = join(folder('snapshots', COMMIT), blob)
    rmSync(folder('.vlm2vec'), { recursive: true })
    rmSync(path)
    writeFileSync(`${path}.vlm2vec.incomplete`, Buffer.alloc(30_000))
    const directory = await get()
    expect(readFileSync(join(directory, 'model.safetensors'))).toEqual(WEIGHTS)
  })

  it('is downloaded once by two at a time', async () => {
    const [one, two] = await Promise.all([get(), get()])
    expect(one).toBe(two)
    expect(hub.requests.filter((each) => each === 'HEAD model.safetensors')).toHaveLength(1)
  })

  it('is asked for with the token, which the store does not see', async () => {
    hub.token = 'secret'
    await expect(get()).rejects.toThrow('Check its name; for a private or gated model set HF_TOKEN')
    await expect(get('model', ID, { HF_TOKEN: 'wrong' })).rejects.toThrow('The token does not give access')
    writeFileSync(join(home, 'token'), 'secret\n')
    expect(readFileSync(join(await get(), 'model.safetensors'))).toEqual(WEIGHTS)
  })

  it('that has no weights, or is not there, is refused', async () => {
    await expect(get('model', { ...ID, repository: 'owner/empty' })).rejects.toThrow('holds no weights')
    await expect(get('adapter', { ...ID, repository: 'owner/empty' })).rejects.toThrow('holds no adapter')
    await expect(get('model', { ...ID, repository: 'owner/none' })).rejects.toThrow('Check the name and the revision')
  })
})

describe('without the hub', () => {
  const gone = { HF_ENDPOINT: 'http://127.0.0.1:9' }
  const put = (name: string, content = '{}'): void => {
    const path = folder('snapshots', COMMIT, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, content)
  }

  it('a model that is not in the cache is an error that says so, and what to do', async () => {
    await expect(get('model', ID, { HF_HUB_OFFLINE: '1' })).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringMatching(/owner\/name cannot be taken .* it is not there.*HF_HUB_OFFLINE is set.*HF_HOME/)
    })
    await expect(get('model', ID, gone)).rejects.toThrow('http://127.0.0.1:9 cannot be reached')
  })

  it('what Python left in the cache is used where it is whole, else what it lacks is named', async () => {
    put('config.json')
    await expect(get('model', ID, gone)).rejects.toThrow('it holds no weights')
    put('model.safetensors')
    await expect(get('model', ID, gone)).rejects.toThrow('it lacks tokenizer_config.json')
    put('tokenizer_config.json')
    expect(await get('model', ID, gone)).toBe(folder('snapshots', COMMIT))
    await expect(get('adapter', ID, gone)).rejects.toThrow('it holds no whole adapter')
    await expect(get('model', { ...ID, revision: 'v1' }, gone)).rejects.toThrow('revision v1,')
  })

  it('what Python left is completed where the hub can be reached', async () => {
    put('config.json', 'of python')
    const directory = await get()
    expect(readFileSync(join(directory, 'config.json'), 'utf8')).toBe('of python')
    expect(existsSync(join(directory, 'model.safetensors'))).toBe(true)
  })
})
