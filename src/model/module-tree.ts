/**
 * Names of modules differ between versions of transformers. Inside, names are those of transformers 5
 * (`model.language_model.layers.0.mlp.up_proj`); adapters carry those of the version that they were trained with. The
 * addon has the namings of each family (native/model/families/).
 */
import type { LinearModule } from '../native.js'

/** The name of a naming; see `LinearModule.spellings`. */
export type ModuleTree = string

/** The tree of new adapters. */
export const CANONICAL_TREE: ModuleTree = 'transformers-5'

/** The name that a module has in a tree. */
export function spell({ name, spellings }: LinearModule, tree: ModuleTree): string {
  return spellings[tree] ?? name
}

/** The tree that most of an adapter's tensor names (`base_model.model.` and a module name) come from; the first of equals. */
export function treeOf(tensorNames: Iterable<string>, linear: readonly LinearModule[]): ModuleTree {
  const modules = [...tensorNames].map((name) =>
    name.replace(/^base_model\.model\./, '').replace(/\.lora_(A|B|magnitude_vector)(\..*)?$/, '')
  )
  let best: { tree: ModuleTree; found: number } = { tree: CANONICAL_TREE, found: 0 }
  for (const tree of Object.keys(linear[0]?.spellings ?? {})) {
    const known = new Set(linear.map((module) => spell(module, tree)))
    const found = modules.filter((name) => known.has(name)).length
    if (found > best.found) best = { tree, found }
  }
  return best.tree
}
