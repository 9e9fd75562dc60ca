import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { recognise } from '../../../src/model/recognise.js'

let directory: string
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'recognise-'))))
afterEach(() => rmSync(directory, { recursive: true }))

function write(path: string, content: unknown): void {
  const file = join(directory, path)
  mkdirSync(join(file, '..'), { recursive: true })
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
}

const recognised = () => recognise([directory])
const V1 = ['qkv_proj', 'o_proj', 'gate_up_proj', 'down_proj', 'k_proj', 'q_proj', 'out_proj', 'v_proj']

describe('recognise', () => {
  it('takes a directory without marks for plain', async () => {
    write('config.json', { model_type: 'qwen2_vl', architectures: ['Qwen2VLForConditionalGeneration'] })
    write('README.md', '---\nbase_model: Qwen/Qwen2-VL-2B\n---\n# My model\n')
    expect(await recognised()).toMatchObject({ name: 'plain', reason: expect.stringContaining('nothing in') })
  })

  it('believes vlm2vec.json before all', async () => {
    write('README.md', '# VLM2Vec-V2.0')
    write('vlm2vec.json', { preset: 'gme' })
    expect(await recognised()).toEqual({ name: 'gme', reason: `${join(directory, 'vlm2vec.json')} says so` })
    write('vlm2vec.json', { prompt: 'chat' })
    expect((await recognised()).name).toBe('plain')
  })

  it.each([
    ['vlm2vec-v1', V1, 'adapter_config.json'],
    ['vlm2vec-v1', V1, 'lora/adapter_config.json'],
    ['vlm2vec-v2', [...V1, 'gate_proj', 'up_proj'], 'adapter_config.json'],
    ['plain', ['q_proj', 'v_proj'], 'adapter_config.json']
  ])('tells %s by the modules of an adapter', async (name, modules, file) => {
    write(file, { peft_type: 'LORA', target_modules: modules })
    expect((await recognised()).name).toBe(name)
  })

  it('leaves an adapter beside whole weights alone', async () => {
    write('lora/adapter_config.json', { target_modules: V1 })
    write('model.safetensors', '')
    expect((await recognised()).name).toBe('plain')
  })

  it.each([
    ['vlm2vec-v2', '---\ntags: [x]\n---\n# VLM2Vec-V2\n'],
    ['vlm2vec-v1', '# VLM2Vec-Full\n'],
    ['vlm2vec-v1', '---\ndatasets:\n- TIGER-Lab/MMEB-train\nbase_model: TIGER-Lab/VLM2Vec-LoRA\n---\n# Mine\n'],
    ['plain', '---\ndatasets: [TIGER-Lab/MMEB-train]\n---\n# Another model trained on it\n'],
    ['gme', '---\nmodel-index:\n- name: gme-Qwen2-VL-2B-Instruct\n---\n# GME\n'],
    ['qwen3-vl-embedding', '# Qwen3-VL-Embedding-2B\n'],
    ['plain', '---\n: [broken\n---\n# title\n']
  ])('tells %s by the model card', async (name, card) => {
    write('README.md', card)
    expect((await recognised()).name).toBe(name)
  })

  it('tells GME by its code, and Qwen3-VL-Embedding by its chat template', async () => {
    write('config.json', { auto_map: { AutoModel: 'modeling_gme_qwen2vl.GmeQwen2VL' } })
    expect((await recognised()).name).toBe('gme')
    write('config.json', {})
    write('chat_template.jinja', "{%- set default_system_message = 'Represent the user\\'s input.' -%}")
    expect(await recognised()).toMatchObject({
      name: 'qwen3-vl-embedding',
      reason: expect.stringContaining('chat_template.jinja')
    })
  })

  it('knows the real files of Qwen3-VL-Embedding', async ({ skip }) => {
    const data = process.env['VLM2VEC_TEST_DATA']
    if (!data) return skip('VLM2VEC_TEST_DATA is not set')
    cpSync(join(data, 'reference/data/qwen3vlemb8b/chat_template.jinja'), join(directory, 'chat_template.jinja'))
    expect((await recognised()).name).toBe('qwen3-vl-embedding')
  })

  it('tells a repository of the hub by its name where its files say nothing', async () => {
    const snapshot = join(directory, 'models--TIGER-Lab--VLM2Vec-Full', 'snapshots', 'abc')
    mkdirSync(snapshot, { recursive: true })
    expect(await recognise([snapshot])).toEqual({
      name: 'vlm2vec-v1',
      reason: 'its name on the hub is TIGER-Lab/VLM2Vec-Full'
    })
  })

  it('asks the adapter before the model', async () => {
    write('adapter/adapter_config.json', { target_modules: V1 })
    write('model/README.md', '# GME\n')
    const found = await recognise([join(directory, 'adapter'), join(directory, 'model')])
    expect(found.name).toBe('vlm2vec-v1')
  })
})
