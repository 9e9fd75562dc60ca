/** What a written model directory holds besides weights: the base's other files, and how items are prepared. */
import { copyFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { ProcessorSettings } from '../preprocess/settings.js'
import { PRESET_FILE, type Preset } from './preset.js'

const KEPT = /\.(json|txt|jinja|model|tiktoken|py)$/
/** Lists of shards, what belongs to an adapter or a run, and files that are written anew. */
const LEFT =
  /(\.index\.json|^adapter_config\.json|^loop\.json|^vlm2vec\.json|^modules\.json|^config_sentence_transformers\.json|^sentence_bert_config\.json)$/

/** Copies configuration, tokenizer, processor and template; not the weights, nor the lists of their shards. */
export async function copyModelFiles(from: string, to: string): Promise<void> {
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const isFile = entry.isFile() || entry.isSymbolicLink() // the hub's cache holds links
    if (isFile && KEPT.test(entry.name) && !LEFT.test(entry.name))
      await copyFile(join(from, entry.name), join(to, entry.name))
  }
}

/** What a model must be given its inputs by. Only what is not so by the base's own files or by default. */
export function presetOf({ image, sources, preset, ...settings }: ProcessorSettings): Preset {
  const said = (source: string): boolean =>
    source === 'option' || source.endsWith(PRESET_FILE) || source.startsWith('preset ')
  const values: Preset = { ...settings, ...image } as Omit<ProcessorSettings, 'preset'> & typeof image
  const keys = (Object.keys(sources) as (keyof typeof sources)[]).filter((key) => said(sources[key]))
  return {
    ...(preset.name !== 'plain' && { preset: preset.name }),
    prompt: settings.prompt,
    positions: settings.positions,
    ...(Object.fromEntries(keys.map((key) => [key, values[key]])) as Preset)
  }
}
