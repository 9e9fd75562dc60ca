/** Writes a model as a directory that transformers or sentence-transformers loads: adapter merged, dimension cut. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeDirectoryWhole, writeWhole } from '../atomic.js'
import { writeTensors } from '../data/safetensors.js'
import { Vlm2VecError } from '../errors.js'
import type { DType } from '../native.js'
import { embeddingSize } from './config.js'
import type { Embedder } from './embedder.js'
import { copyModelFiles, presetOf } from './model-files.js'
import { writePreset } from './preset.js'

export interface ExportOptions {
  format: 'huggingface' | 'sentence-transformers'
  /** 'base': the number type of the loaded checkpoint */
  dtype: DType | 'base'
}

/** The directory appears whole or not at all; one that exists must be empty. */
export async function exportModel(embedder: Embedder, output: string, options: ExportOptions): Promise<void> {
  if (existsSync(output) && (await readdir(output)).length > 0)
    throw new Vlm2VecError('E_OUTPUT', `${output} is not empty; choose another directory or remove it.`)
  const { processor, files } = embedder
  if (options.format === 'sentence-transformers' && processor.config.dual)
    throw new Vlm2VecError(
      'E_OPTION',
      'The format sentence-transformers is written for decoders only; SentenceTransformer loads a CLIP or SigLIP directory as it is.'
    )
  await writeDirectoryWhole(output, async (temporary) => {
    await copyModelFiles(files.directory, temporary)
    if (options.dtype !== 'base') await setDtype(join(temporary, 'config.json'), options.dtype)
    await embedder.saveWeights(join(temporary, 'model.safetensors'), options.dtype)
    const cut = embedder.dimension === embeddingSize(processor.config) ? {} : { dimension: embedder.dimension }
    await writePreset(temporary, { ...presetOf(processor.settings), ...cut })
    if (options.format === 'sentence-transformers') await writeSentenceTransformers(temporary, embedder)
  })
}

/** The number type as config.json spells it, wherever it says one; transformers loads weights in that type. */
async function setDtype(path: string, dtype: DType): Promise<void> {
  const name = { f32: 'float32', bf16: 'bfloat16' }[dtype]
  const config = JSON.parse(await readFile(path, 'utf8'), (key, value: unknown) =>
    key === 'torch_dtype' || key === 'dtype' ? name : value
  ) as Record<string, unknown>
  const said = 'torch_dtype' in config || 'dtype' in config
  await writeWhole(path, `${JSON.stringify(said ? config : { ...config, torch_dtype: name }, null, 2)}\n`)
}

// ---- sentence-transformers -------------------------------------------------------------------------------------------

/** Last-token pooling, a cut to the dimension (a linear layer that keeps the first numbers), and normalisation. */
async function writeSentenceTransformers(directory: string, { processor, dimension }: Embedder): Promise<void> {
  const { hiddenSize } = processor.config.text
  const cut = dimension !== hiddenSize
  const modules = ['', '1_Pooling', ...(cut ? ['2_Dense', '3_Normalize'] : ['2_Normalize'])]
  const json = (name: string, value: unknown): Promise<void> =>
    writeWhole(join(directory, name), `${JSON.stringify(value, null, 2)}\n`)
  await json(
    'modules.json',
    modules.map((path, idx) => ({
      idx,
      name: String(idx),
      path,
      type: `sentence_transformers.models.${path === '' ? 'Transformer' : path.slice(2)}`
    }))
  )
  await json('config_sentence_transformers.json', {
    __version__: {},
    prompts: processor.settings.instruction === undefined ? {} : { default: `${processor.settings.instruction} ` },
    default_prompt_name: processor.settings.instruction === undefined ? null : 'default',
    similarity_fn_name: 'cosine'
  })
  await json('sentence_bert_config.json', { max_seq_length: processor.settings.maxLength, do_lower_case: false })
  for (const path of modules.slice(1)) await mkdir(join(directory, path), { recursive: true })
  await json('1_Pooling/config.json', {
    word_embedding_dimension: hiddenSize,
    pooling_mode_cls_token: false,
    pooling_mode_mean_tokens: false,
    pooling_mode_max_tokens: false,
    pooling_mode_mean_sqrt_len_tokens: false,
    pooling_mode_weightedmean_tokens: false,
    pooling_mode_lasttoken: true,
    include_prompt: true
  })
  await json(`${modules.at(-1)}/config.json`, {})
  if (cut) await writeCut(directory, hiddenSize, dimension)
}

async function writeCut(directory: string, from: number, to: number): Promise<void> {
  const config = {
    in_features: from,
    out_features: to,
    bias: false,
    activation_function: 'torch.nn.modules.linear.Identity'
  }
  await writeWhole(join(directory, '2_Dense/config.json'), `${JSON.stringify(config, null, 2)}\n`)
  const weight = new Float32Array(to * from)
  for (let row = 0; row < to; row++) weight[row * from + row] = 1
  await writeTensors(join(directory, '2_Dense/model.safetensors'), (add) =>
    add({ name: 'linear.weight', shape: [to, from], data: weight })
  )
}
