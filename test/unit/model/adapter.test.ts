import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  adapterConfigJson,
  adapterTargets,
  findAdapter,
  readAdapterConfig,
  requireAdapter,
  type AdapterConfig
} from '../../../src/model/adapter.js'
import { spell, treeOf } from '../../../src/model/module-tree.js'
import { tensorNames } from '../../../src/data/safetensors.js'
import type { LinearModule } from '../../../src/native.js'

const LINEAR: LinearModule[] = [
  'model.visual.blocks.0.attn.qkv',
  'model.language_model.layers.0.self_attn.q_proj',
  'model.language_model.layers.0.mlp.up_proj',
  'model.language_model.layers.1.self_attn.q_proj',
  'model.language_model.layers.1.mlp.up_proj'
].map((name) => ({
  name,
  part: name.includes('visual') ? 'vision' : 'text',
  inFeatures: 8,
  outFeatures: 8,
  spellings: {
    'transformers-5': name,
    'transformers-4': name.replace(/^model\.(language_model)?/, (_, text?: string) => (text ? 'model' : '')),
    bare: name.replace(/^model\./, '')
  }
}))

const CONFIG: AdapterConfig = {
  rank: 8,
  alpha: 64,
  dropout: 0.1,
  dora: true,
  rslora: false,
  targetModules: ['q_proj'],
  rankPattern: {},
  alphaPattern: {},
  initialization: 'gaussian'
}

let directory: string
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'adapter-'))))
afterEach(() => rmSync(directory, { recursive: true }))

function write(json: object, folder = directory) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(json))
  writeFileSync(join(folder, 'adapter_model.safetensors'), '')
  return requireAdapter(directory)
}

const MINIMAL = { peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj'] }

describe('requireAdapter', () => {
  it('finds an adapter in the directory itself or in its folder lora', async () => {
    expect(findAdapter(directory)).toBeUndefined()
    expect((await write(MINIMAL, join(directory, 'lora'))).directory).toBe(join(directory, 'lora'))
    expect((await write(MINIMAL)).directory).toBe(directory)
  })

  it('says what is missing', async () => {
    await expect(requireAdapter(directory)).rejects.toThrow('holds no adapter')
    writeFileSync(join(directory, 'adapter_config.json'), '{}')
    await expect(requireAdapter(directory)).rejects.toThrow('it is incomplete')
  })

  it("takes PyTorch's file where there is no other, and says what is wrong with it", async () => {
    writeFileSync(join(directory, 'adapter_config.json'), '{}')
    const recorded = fileURLToPath(new URL('../data/torch/', import.meta.url))
    cpSync(join(recorded, 'evil.bin'), join(directory, 'adapter_model.bin'))
    await expect(requireAdapter(directory)).rejects.toThrow('nothing is executed')
    cpSync(join(recorded, 'plain.bin'), join(directory, 'adapter_model.bin'))
    const { weights } = await requireAdapter(directory)
    expect(await tensorNames(weights)).toContain('transposed')
    expect((await requireAdapter(directory)).weights).toBe(weights)
  })
})

describe('readAdapterConfig', () => {
  it('reads what PEFT writes and ignores keys that it does not know', async () => {
    const config = await readAdapterConfig(
      await write({
        ...MINIMAL,
        use_dora: true,
        use_rslora: true,
        lora_dropout: 0.1,
        rank_pattern: { q_proj: 2 },
        layers_to_transform: 3,
        init_lora_weights: 'gaussian',
        base_model_name_or_path: 'owner/base',
        key_of_a_later_version: 1,
        loftq_config: {},
        megatron_core: 'megatron.core'
      })
    )
    expect(config).toMatchObject({
      rank: 4,
      alpha: 8,
      dropout: 0.1,
      dora: true,
      rslora: true,
      rankPattern: { q_proj: 2 },
      layersToTransform: [3],
      initialization: 'gaussian',
      baseModel: 'owner/base'
    })
  })

  it.each([
    [{ peft_type: 'IA3' }, 'peft_type is "IA3"'],
    [{ bias: 'all' }, 'bias is "all"'],
    [{ lora_bias: true }, 'lora_bias is set'],
    [{ modules_to_save: ['lm_head'] }, 'modules_to_save is set'],
    [{ use_qalora: true }, 'use_qalora is set'],
    [{ init_lora_weights: 'pissa' }, 'changes base weights'],
    [{ target_modules: null }, 'target_modules must be'],
    [{ r: 0 }, 'r must be a number above 0']
  ])('refuses %j, which would change numbers', async (change, message) => {
    await expect(readAdapterConfig(await write({ ...MINIMAL, ...change }))).rejects.toThrow(message)
  })
})

describe('adapterTargets', () => {
  it('gives each module its rank and scale, by pattern where there is one', () => {
    const config = {
      ...CONFIG,
      rankPattern: { [String.raw`layers\.1\.self_attn.q_proj`]: 4 },
      alphaPattern: { q_proj: 32 }
    }
    expect(adapterTargets(config, LINEAR).modules).toEqual([
      { module: LINEAR[1]!.name, rank: 8, scale: 4, dora: true },
      { module: LINEAR[3]!.name, rank: 4, scale: 8, dora: true }
    ])
    expect(adapterTargets({ ...CONFIG, rank: 16, rslora: true }, LINEAR).modules[0]!.scale).toBe(16)
  })

  it('compares names as they were spelled where the adapter was trained', () => {
    const old = { ...CONFIG, targetModules: String.raw`model\.layers\.\d+\.mlp\.up_proj` }
    expect(() => adapterTargets(old, LINEAR)).toThrow('match no module')
    expect(adapterTargets(old, LINEAR, 'transformers-4').modules.map(({ module }) => module)).toEqual([
      LINEAR[2]!.name,
      LINEAR[4]!.name
    ])
  })

  it('lists entries without a match, and names modules where nothing matches', () => {
    expect(adapterTargets({ ...CONFIG, targetModules: ['q_proj', 'gate_up_proj'] }, LINEAR).unmatched).toEqual([
      'gate_up_proj'
    ])
    expect(() => adapterTargets({ ...CONFIG, targetModules: ['q_porj'] }, LINEAR)).toThrow(/attn\.qkv, .*mlp\.up_proj/)
    expect(() =>
      adapterTargets({ ...CONFIG, targetModules: ['q_porj'] }, LINEAR, 'transformers-5', 'E_OPTION')
    ).toThrow(expect.objectContaining({ code: 'E_OPTION' }))
  })
})

describe('adapterConfigJson', () => {
  it('keeps patterns that mean the same by the names of transformers 5', () => {
    const json = JSON.parse(adapterConfigJson({ ...CONFIG, baseModel: 'base' }, LINEAR)) as Record<string, unknown>
    expect(json).toMatchObject({
      peft_type: 'LORA',
      base_model_name_or_path: 'base',
      r: 8,
      lora_alpha: 64,
      lora_dropout: 0.1,
      use_dora: true,
      init_lora_weights: 'gaussian',
      target_modules: ['q_proj'],
      modules_to_save: null
    })
  })

  it('spells modules out where patterns speak of another tree, or of all linear modules', async () => {
    const old = {
      ...CONFIG,
      targetModules: String.raw`model\.layers.*proj`,
      rankPattern: { [String.raw`model\.layers\.1.*`]: 2 }
    }
    const json = JSON.parse(adapterConfigJson(old, LINEAR, 'transformers-4')) as Record<string, unknown>
    expect(json['target_modules']).toEqual(LINEAR.slice(1).map(({ name }) => name))
    const again = await readAdapterConfig(await write(json))
    expect(adapterTargets(again, LINEAR).modules).toEqual(adapterTargets(old, LINEAR, 'transformers-4').modules)
    const all = JSON.parse(adapterConfigJson({ ...CONFIG, targetModules: 'all-linear' }, LINEAR)) as Record<
      string,
      unknown
    >
    expect(all['target_modules']).toHaveLength(LINEAR.length)
  })
})

describe('module trees', () => {
  it('are told by the names of tensors', () => {
    const tree = (...names: string[]): string =>
      treeOf(
        names.map((name) => `base_model.model.${name}`),
        LINEAR
      )
    expect(tree('model.layers.0.self_attn.q_proj.lora_A.weight')).toBe('transformers-4')
    expect(tree('visual.blocks.0.attn.qkv.lora_A.weight')).toBe('transformers-4')
    expect(tree('visual.blocks.0.attn.qkv.lora_B.weight', 'language_model.layers.0.mlp.up_proj.lora_A.weight')).toBe(
      'bare'
    )
    expect(tree('model.language_model.layers.0.mlp.up_proj.lora_magnitude_vector')).toBe('transformers-5')
    expect(tree('unknown')).toBe('transformers-5')
  })

  it('spell the same module differently', () => {
    const module = LINEAR[2]!
    expect(spell(module, 'transformers-5')).toBe(module.name)
    expect(spell(module, 'transformers-4')).toBe('model.layers.0.mlp.up_proj')
    expect(spell(module, 'bare')).toBe('language_model.layers.0.mlp.up_proj')
    expect(spell(LINEAR[0]!, 'transformers-4')).toBe('visual.blocks.0.attn.qkv')
  })
})
