import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fromFloats, writeTensors } from '../../integration/golden.js'
import { readSentenceTransformers } from '../../../src/model/sentence-transformers.js'

let directory: string
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'sentence-'))))
afterEach(() => rmSync(directory, { recursive: true }))

function write(path: string, content: unknown): void {
  const file = join(directory, path)
  mkdirSync(join(file, '..'), { recursive: true })
  writeFileSync(file, JSON.stringify(content))
}

const read = () => readSentenceTransformers(directory)

function writeModules(...types: string[]): void {
  write(
    'modules.json',
    types.map((type, idx) => ({
      idx,
      name: String(idx),
      path: idx === 0 ? '' : `${idx}_${type.split('.').at(-1)}`,
      type
    }))
  )
}

const OLD = ['Transformer', 'Pooling', 'Normalize'].map((kind) => `sentence_transformers.models.${kind}`)
const NEW = [
  'sentence_transformers.base.modules.transformer.Transformer',
  'sentence_transformers.sentence_transformer.modules.pooling.Pooling',
  'sentence_transformers.base.modules.normalize.Normalize'
]

describe('files of sentence-transformers', () => {
  it('are none where there are none, or where the model brings its own code', async () => {
    expect(await read()).toBeUndefined()
    writeModules('custom_st.MultiModalTransformer')
    expect(await read()).toBeUndefined()
  })

  it('up to version 5: a flag for the pooling, texts with the default prompt as it stands', async () => {
    writeModules(...OLD)
    write('1_Pooling/config.json', {
      word_embedding_dimension: 8,
      pooling_mode_cls_token: false,
      pooling_mode_mean_tokens: false,
      pooling_mode_lasttoken: true,
      include_prompt: true
    })
    write('config_sentence_transformers.json', { prompts: { q: 'query:' }, default_prompt_name: 'q' })
    write('sentence_bert_config.json', { max_seq_length: 128, do_lower_case: false })
    expect(await read()).toEqual({
      pooling: 'last',
      normalize: true,
      instruction: 'query:',
      prompt: 'raw',
      separator: ''
    })
    write('1_Pooling/config.json', { word_embedding_dimension: 8 })
    expect(await read()).toMatchObject({ pooling: 'mean' })
  })

  it('of version 6: one mode, and messages by a chat template of their own', async () => {
    writeModules(...NEW.slice(0, 2))
    write('1_Pooling/config.json', { embedding_dimension: 8, pooling_mode: 'cls' })
    write('config_sentence_transformers.json', { prompts: {}, default_prompt_name: null })
    const modality_config = { text: {}, message: { format: 'structured' } }
    write('sentence_bert_config.json', { modality_config })
    expect(await read()).toEqual({ pooling: 'cls', normalize: false, prompt: 'chat', generationPrompt: false })
    write('sentence_bert_config.json', {
      modality_config,
      processing_kwargs: { chat_template: { add_generation_prompt: true, chat_template: '{{ messages }}' } }
    })
    expect(await read()).toMatchObject({ generationPrompt: true, chatTemplate: '{{ messages }}' })
  })

  const writeDense = (weight: number[], config: object): void => {
    write('2_Dense/config.json', { in_features: 4, out_features: 2, bias: false, ...config })
    const tensor = fromFloats(Float32Array.from(weight), [2, 4], 'F32')
    writeTensors(join(directory, '2_Dense', 'model.safetensors'), new Map([['linear.weight', tensor]]))
  }
  const CUT = [1, 0, 0, 0, 0, 1, 0, 0]
  const IDENTITY = { activation_function: 'torch.nn.modules.linear.Identity' }

  it('may keep the first numbers by a linear layer, which is a dimension', async () => {
    writeModules(OLD[0]!, OLD[1]!, 'sentence_transformers.models.Dense', 'sentence_transformers.models.Normalize')
    write('1_Pooling/config.json', { pooling_mode: 'lasttoken' })
    writeDense(CUT, IDENTITY)
    expect(await read()).toMatchObject({ pooling: 'last', normalize: true, dimension: 2 })
    const others: [number[], object][] = [
      [[1, 0, 0, 0, 0, 2, 0, 0], IDENTITY],
      [[0, 1, 0, 0, 1, 0, 0, 0], IDENTITY],
      [CUT, { ...IDENTITY, bias: true }],
      [CUT, { activation_function: 'torch.nn.modules.activation.Tanh' }]
    ]
    for (const [weight, config] of others) {
      writeDense(weight, config)
      await expect(read()).rejects.toMatchObject({
        code: 'E_MODEL',
        message: expect.stringMatching(/module Dense is not/)
      })
    }
    writeModules(OLD[0]!, OLD[1]!, 'sentence_transformers.models.Normalize', 'sentence_transformers.models.Dense')
    writeDense(CUT, IDENTITY)
    await expect(read()).rejects.toMatchObject({ code: 'E_MODEL' })
  })

  it.each<[string, () => void, RegExp]>([
    [
      'a module that is not supported',
      () => writeModules(OLD[0]!, 'sentence_transformers.models.Dense'),
      /module Dense is not/
    ],
    ['a pooling mode', () => write('1_Pooling/config.json', { pooling_mode: 'max' }), /one of lasttoken, mean, cls/],
    [
      'an old pooling flag',
      () => write('1_Pooling/config.json', { pooling_mode_max_tokens: true }),
      /pooling_mode_max_tokens/
    ],
    [
      'two pooling flags',
      () => write('1_Pooling/config.json', { pooling_mode_mean_tokens: true, pooling_mode_lasttoken: true }),
      /one of lasttoken/
    ],
    ['no pooling file', () => {}, /1_Pooling.*no such file/],
    ['a list without types', () => write('modules.json', [{ path: '' }]), /"type" and a "path"/],
    ['no list', () => write('modules.json', {}), /list of modules/],
    [
      'a path that leads out',
      () => write('modules.json', [{ type: 'Transformer', path: '../x' }]),
      /"type" and a "path"/
    ]
  ])('refuse %s', async (_, change, message) => {
    writeModules(...OLD)
    change()
    await expect(read()).rejects.toMatchObject({ code: 'E_MODEL', message: expect.stringMatching(message) })
  })
})
