/**
 * Names of modules differ between versions of transformers. Inside, names are those of transformers 5
 * (`model.language_model.layers.0.mlp.up_proj`, `model.visual.blocks.0.attn.qkv`); adapters carry those of the version
 * that they were trained with.
 */
export type ModuleTree =
  /** `model.language_model.layers`, `model.visual` */
  | 'transformers-5'
  /** before 4.52: `model.layers`, `visual` */
  | 'transformers-4'
  /** the bare model, without its language-model head: `language_model.layers`, `visual` */
  | 'bare'

/** The name that a module has in a tree. */
export function spell(name: string, tree: ModuleTree): string {
  if (tree === 'transformers-5') return name
  const bare = name.replace(/^model\./, '')
  return tree === 'bare' ? bare : bare.replace(/^language_model\./, 'model.')
}

/** The tree that an adapter's tensor names come from (`base_model.model.` and a module name). */
export function treeOf(tensorNames: Iterable<string>): ModuleTree {
  let tree: ModuleTree = 'transformers-5'
  for (const name of tensorNames) {
    const module = name.replace(/^base_model\.model\./, '')
    if (/^model\.(language_model|visual)\./.test(module)) return 'transformers-5'
    if (/^language_model\./.test(module)) return 'bare'
    if (/^(model\.layers|visual)\./.test(module)) tree = 'transformers-4'
  }
  return tree
}
