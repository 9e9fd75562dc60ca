/** Which files of a hub repository are read here: repositories also hold other weight formats, logs and checkpoints. */

/** What a directory is wanted as. */
export type Use = 'model' | 'adapter'

const SMALL = [
  /^[^/]+\.(json|txt|jinja|model|tiktoken)$/,
  /^README\.md$/,
  /^lora\/adapter_config\.json$/,
  // modules of sentence-transformers
  /^\d+_\w+\/config\.json$/,
  /^\d+_Dense\/(model\.safetensors|pytorch_model\.bin)$/
]
const LEFT = /^(trainer_state|training_args|all_results|train_results|eval_results)\b/

/** Lists of shards, which follow from them: see `shardsOf`. */
export const INDICES = ['model.safetensors.index.json', 'pytorch_model.bin.index.json']

/** Files but the weights. */
export function smallFiles(names: readonly string[]): string[] {
  return names.filter((name) => SMALL.some((pattern) => pattern.test(name)) && !LEFT.test(name))
}

/**
 * Weights of the repository, of the first form that it has: for a model, safetensors, PyTorch's pickle, else an adapter,
 * which stands for its base model with that adapter.
 */
export function weightFiles(names: readonly string[], use: Use): string[] {
  const first = (...candidates: string[]): string[] => candidates.filter((name) => names.includes(name)).slice(0, 1)
  const model = use === 'model' ? first(INDICES[0]!, 'model.safetensors', INDICES[1]!, 'pytorch_model.bin') : []
  if (model.length > 0) return model
  const adapters = ['', 'lora/'].flatMap((folder) =>
    names.includes(`${folder}adapter_config.json`)
      ? first(`${folder}adapter_model.safetensors`, `${folder}adapter_model.bin`)
      : []
  )
  return adapters.slice(0, 1)
}

/** The shards that the text of an index names. */
export function shardsOf(index: string): string[] {
  const { weight_map: map } = JSON.parse(index) as { weight_map?: Record<string, unknown> }
  return [...new Set(Object.values(map ?? {}))].filter((name) => typeof name === 'string').sort()
}
