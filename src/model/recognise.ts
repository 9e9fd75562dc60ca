/** Which preset a directory needs, by what it holds. Every rule has a reason, in words, that `inspect` prints. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readJsonObject, type Fields } from '../json-fields.js'
import { readModelCard, textsOf } from './model-card.js'
import { PRESET_FILE, readPreset, type PresetName } from './preset.js'

export interface Recognised {
  name: PresetName
  /** "README.md is called VLM2Vec-V2" */
  reason: string
}

/** `directories`: that of the adapter, where there is one, then that of the model. The first that says something holds. */
export async function recognise(directories: readonly string[]): Promise<Recognised> {
  for (const directory of directories) {
    const found = (await remembered(directory)) ?? (await byRules(directory))
    if (found) return found
  }
  return { name: 'plain', reason: `nothing in ${directories.join(' or ')} is a mark of another preset` }
}

async function remembered(directory: string): Promise<Recognised | undefined> {
  const preset = await readPreset(directory)
  return preset && { name: preset.preset ?? 'plain', reason: `${join(directory, PRESET_FILE)} says so` }
}

async function byRules(directory: string): Promise<Recognised | undefined> {
  for (const rule of [byAdapter, byCode, byTemplate, byCard, byHubName]) {
    const found = await rule(directory)
    if (found) return found
  }
  return undefined
}

/** Module lists that VLM2Vec's code adapts where it is told nothing else. */
const V1_TARGETS = ['down_proj', 'gate_up_proj', 'k_proj', 'o_proj', 'out_proj', 'q_proj', 'qkv_proj', 'v_proj']
const V2_TARGETS = [...V1_TARGETS, 'gate_proj', 'up_proj'].sort()

async function byAdapter(directory: string): Promise<Recognised | undefined> {
  const config = await adapterConfig(directory)
  const targets = config?.raw('target_modules')
  if (!config || !Array.isArray(targets)) return undefined
  const list = JSON.stringify([...(targets as unknown[])].sort())
  const version = list === JSON.stringify(V1_TARGETS) ? 1 : list === JSON.stringify(V2_TARGETS) ? 2 : 0
  if (version === 0) return undefined
  return {
    name: version === 1 ? 'vlm2vec-v1' : 'vlm2vec-v2',
    reason: `${config.file} adapts just the modules that VLM2Vec's code of version ${version} does`
  }
}

/** Not of an adapter that lies beside whole weights: it isn't used. */
async function adapterConfig(directory: string): Promise<Fields | undefined> {
  const own = await readJsonObject(join(directory, 'adapter_config.json'))
  const hasWeights = ['model.safetensors', 'model.safetensors.index.json'].some((name) =>
    existsSync(join(directory, name))
  )
  return own ?? (hasWeights ? undefined : readJsonObject(join(directory, 'lora', 'adapter_config.json')))
}

/** GME ships code of its own. */
async function byCode(directory: string): Promise<Recognised | undefined> {
  const config = await readJsonObject(join(directory, 'config.json'))
  const named = JSON.stringify([config?.raw('architectures'), config?.raw('auto_map')])
  if (!/gme/i.test(named)) return undefined
  return { name: 'gme', reason: `${config!.file} names the code of GME` }
}

/** The template of Qwen3-VL-Embedding has an instruction of its own. */
async function byTemplate(directory: string): Promise<Recognised | undefined> {
  for (const name of ['chat_template.jinja', 'chat_template.json', 'tokenizer_config.json']) {
    const text = await readFile(join(directory, name), 'utf8').catch(() => '')
    if (/Represent the user\\{0,3}'s input\./.test(text))
      return {
        name: 'qwen3-vl-embedding',
        reason: `the chat template in ${join(directory, name)} has the default instruction of Qwen3-VL-Embedding`
      }
  }
  return undefined
}

async function byCard(directory: string): Promise<Recognised | undefined> {
  const card = await readModelCard(directory)
  if (!card) return undefined
  const { metadata, title } = card
  const where = join(directory, 'README.md')
  const names = [title, ...textsOf(metadata, 'model_name'), ...modelIndexNames(metadata)]
  const named = byName(names)
  if (named) return { name: named.preset, reason: `${where} calls the model ${named.text}` }
  const trainedOn = textsOf(metadata, 'datasets').find((each) => /MMEB-train/i.test(each))
  const ours = [...textsOf(metadata, 'tags'), ...textsOf(metadata, 'base_model')].find((each) => /VLM2Vec/i.test(each))
  if (trainedOn !== undefined && ours !== undefined)
    return { name: versionOf(ours), reason: `${where} names ${trainedOn} and ${ours}` }
  return undefined
}

function modelIndexNames(metadata: Record<string, unknown>): string[] {
  return [metadata['model-index']]
    .flat()
    .map((entry) => (entry as { name?: unknown } | null)?.name)
    .filter((name) => typeof name === 'string')
}

/** The name of the repository that a folder of the Hugging Face cache belongs to. */
async function byHubName(directory: string): Promise<Recognised | undefined> {
  const repository = /models--([\w.-]+?)--([\w.-]+)[\\/]snapshots[\\/][^\\/]+[\\/]?$/.exec(directory)
  const named = repository && byName([repository[2]!])
  return named ? { name: named.preset, reason: `its name on the hub is ${repository[1]}/${named.text}` } : undefined
}

function byName(names: string[]): { preset: PresetName; text: string } | undefined {
  for (const text of names) {
    if (/VLM2Vec/i.test(text)) return { preset: versionOf(text), text }
    if (/\bgme-qwen2/i.test(text)) return { preset: 'gme', text }
    if (/Qwen3-VL-Embedding/i.test(text)) return { preset: 'qwen3-vl-embedding', text }
  }
  return undefined
}

const versionOf = (text: string): PresetName => (/VLM2Vec[-_ ]?V?2(\.|\b)/i.test(text) ? 'vlm2vec-v2' : 'vlm2vec-v1')
