/** `inspect`: what a model directory is; with `--input`, what items become on their way into the model. */
import { findModel, type ModelFiles } from '../model/directory.js'
import { readAdapterConfig } from '../model/adapter.js'
import { defineCommand, type CommandContext } from '../command.js'
import { writeTensors, type NamedTensor } from '../data/safetensors.js'
import { Vlm2VecError } from '../errors.js'
import { nullable, number, option, path } from '../options.js'
import { native } from '../native.js'
import { patchCount } from '../preprocess/pictures.js'
import type { PreparedItem } from '../preprocess/prepared.js'
import type { Processor } from '../preprocess/processor.js'
import { overviewBytes, tilePixels } from '../preprocess/tiles.js'
import type { ModelConfig } from '../model/config.js'
import { openItems, shardCheck, type FileItem } from './items.js'
import { loadEmbedder, modelOptions, preparation, promptOptions, type LoadValues } from './model-options.js'

export const command = defineCommand({
  options: {
    ...modelOptions,
    input: option(nullable(path), null, 'items as JSONL or Parquet, or - for standard input: show what each becomes'),
    dump: option(
      nullable(path),
      null,
      'write pixels, patches, last hidden states and embeddings to this safetensors file'
    ),
    compare: option(
      nullable(path),
      null,
      'states that scripts/record-states.py recorded: say in which stage they first differ from ours (exit code 1)'
    ),
    tolerance: option(number(0), 1e-3, 'compare: differences up to this share of the largest number are none'),
    shard: option(nullable(shardCheck), null, 'only part I of N equal parts of the input; I counts from 0'),
    ...promptOptions
  },
  examples: [
    'inspect --model model-dir',
    'inspect --model model-dir --input items.jsonl --json --dump items.safetensors',
    'inspect --model model-dir --input items.jsonl --compare states.safetensors'
  ],
  run: async (options, context) => {
    const files = await findModel(options.model, options.adapter, { log: context.log, signal: context.signal })
    const { Processor } = await import('../preprocess/processor.js')
    const processor = await Processor.load(files.directory, {
      ...preparation(options),
      adapterDirectory: files.adapter?.directory
    })
    if (options.compare !== null && (options.input === null || options.dump !== null))
      throw new Vlm2VecError('E_OPTION', '--compare needs the items (--input), and goes without --dump.')
    if (options.input === null) {
      const description = await describeModel(files, processor)
      await context.print(options.json ? JSON.stringify(description) : JSON.stringify(description, null, 2))
      return
    }
    const source = await openItems({
      input: options.input,
      imageRoot: options.image_root,
      shard: options.shard,
      stdin: context.stdin
    })
    const show = async (placed: FileItem, index: number): Promise<Shown> => {
      const item = await placed.item()
      const prepared = await processor.prepare(item, placed)
      const shown = { id: item.id ?? String(source.first + index), prepared }
      if (options.compare !== null) return shown
      await context.print(options.json ? JSON.stringify(itemLine(shown, processor.config)) : itemText(shown))
      return shown
    }
    try {
      if (options.compare !== null) await compare(options.compare, { items: source.items, show, options, context })
      else if (options.dump === null) await showAll(source.items, show, context)
      else await dump(options.dump, { items: source.items, show, options, context })
    } finally {
      await source.close()
    }
  }
})

interface Shown {
  id: string
  prepared: PreparedItem
}

async function showAll(
  items: AsyncIterable<FileItem>,
  show: (placed: FileItem, index: number) => Promise<Shown>,
  { signal }: CommandContext
): Promise<void> {
  let index = 0
  for await (const placed of items) {
    signal.throwIfAborted()
    await show(placed, index++)
  }
}

interface Dump {
  items: AsyncIterable<FileItem>
  show: (placed: FileItem, index: number) => Promise<Shown>
  options: LoadValues
  context: CommandContext
}

/** A line an item that was recorded. E_NUMERIC where one differs, E_DATA where none of the items was recorded. */
async function compare(
  path: string,
  { items, show, options, context }: Dump & { options: { tolerance: number; json: boolean } }
): Promise<void> {
  const { compareItem, comparisonText, recordedIds } = await import('./compare-states.js')
  const { TensorFile } = await import('../data/tensor-file.js')
  const file = await TensorFile.open(path)
  try {
    const ids = recordedIds(file)
    const embedder = await loadEmbedder(options, context)
    const count = { compared: 0, different: 0 }
    try {
      const showAndCompare = async (placed: FileItem, index: number): Promise<Shown> => {
        const shown = await show(placed, index)
        if (!ids.has(shown.id)) return shown
        const pixels = (await pixelValues(shown, embedder.processor.config))?.data
        const result = await compareItem({ ...shown, pixels }, { file, embedder, tolerance: options.tolerance })
        count.compared++
        if (result.first) count.different++
        await context.print(options.json ? JSON.stringify(result) : comparisonText(result))
        return shown
      }
      await showAll(items, showAndCompare, context)
    } finally {
      await embedder.close()
    }
    if (count.compared === 0)
      throw new Vlm2VecError(
        'E_DATA',
        `${path} holds the items ${[...ids].slice(0, 5).join(', ')}; none of the input has such an id.`
      )
    if (count.different > 0)
      throw new Vlm2VecError('E_NUMERIC', `${count.different} of ${count.compared} items differ from ${path}.`)
  } finally {
    await file.close()
  }
}

/** Item by item, so that memory does not grow with their number. */
async function dump(file: string, { items, show, options, context }: Dump): Promise<void> {
  const embedder = await loadEmbedder(options, context)
  try {
    await writeTensors(file, async (add) => {
      const showAndAdd = async (placed: FileItem, index: number): Promise<Shown> => {
        const shown = await show(placed, index)
        const { embeddings, lastHidden } = await embedder.embedPrepared(shown.prepared)
        for (const tensor of resizedTensors(shown)) await add(tensor)
        const values = await pixelValues(shown, embedder.processor.config)
        if (values) await add(values)
        const tokens = shown.prepared.tokens.length
        await add({ name: `${shown.id}.last_hidden`, shape: [tokens, lastHidden.length / tokens], data: lastHidden })
        await add({ name: `${shown.id}.embedding`, shape: [embeddings.length], data: embeddings })
        return shown
      }
      await showAll(items, showAndAdd, context)
    })
  } finally {
    await embedder.close()
  }
}

/** `<id>.resized` (height, width, 3), of videos (frames, height, width, 3), of further ones `<id>.resized.1`, ... */
function resizedTensors({ id, prepared: { visuals } }: Shown): NamedTensor[] {
  return visuals.map(({ kind, grid, layout, tiles, pixels }, index) => {
    const [height, width] = [grid[1] * layout.patchSize, grid[2] * layout.patchSize]
    const data = tiles ? pixels.subarray(overviewBytes({ ...tiles, tile: width })) : pixels
    const rows = tiles ? [(height * (grid[0] - 1)) / tiles.across, width * tiles.across] : [height, width]
    const frames = data.length / (3 * rows[0]! * rows[1]!)
    const shape = kind === 'image' ? [...rows, 3] : [frames, ...rows, 3]
    return { name: index === 0 ? `${id}.resized` : `${id}.resized.${index}`, shape, data }
  })
}

/** `<id>.pixel_values`: all patches, or tiles; undefined where there are no pictures. */
async function pixelValues({ id, prepared: { visuals } }: Shown, { vision }: ModelConfig) {
  if (visuals.length === 0) return undefined
  const parts = await Promise.all(visuals.map((visual) => native().patchify(visual)))
  const patches = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0))
  let offset = 0
  for (const part of parts) {
    patches.set(part, offset)
    offset += part.length
  }
  const name = `${id}.pixel_values`
  const rows = visuals.reduce((sum, { grid }) => sum + patchCount(grid), 0)
  if (!visuals[0]!.tiles) return { name, shape: [rows, patches.length / rows], data: patches }
  const { imageSize, patchSize, mergeSize } = vision!
  const tile = imageSize!
  const pixels = tilePixels(patches, { tile, patchSize, mergeSize })
  return { name, shape: [pixels.length / (3 * tile * tile), 3, tile, tile], data: pixels }
}

function itemLine({ id, prepared }: Shown, { text }: ModelConfig) {
  const length = prepared.tokens.length
  const positions = [0, 1, 2].map((axis) => [...prepared.positions.subarray(axis * length, (axis + 1) * length)])
  const sizes = prepared.visuals.flatMap(({ imageSize }) => (imageSize ? [imageSize] : []))
  return {
    id,
    prompt: prepared.prompt,
    input_ids: [...prepared.tokens],
    positions: text.rope.kind === 'plain' ? positions[0] : positions,
    ...(sizes.length > 0 ? { image_sizes: sizes } : { grids: prepared.visuals.map(({ grid }) => grid) })
  }
}

function itemText({ id, prepared }: Shown): string {
  const grids = prepared.visuals.map(({ kind, grid }) => `${kind} of ${grid.join(' x ')} patches`)
  return `${id}: ${[`${prepared.tokens.length} tokens`, ...grids].join(', ')}\n  ${JSON.stringify(prepared.prompt)}`
}

const OF_PICTURES = new Set(
  'image video fit filter mean std pixelLimit firstSize numCrops positions minPixels maxPixels'.split(' ')
)

/** Sizes, files, and where each setting of input preparation comes from. */
async function describeModel(files: ModelFiles, { config, settings, tokenizer }: Processor) {
  const { sources, preset, ...values } = settings
  const concerns = ([key]: [string, unknown]): boolean => config.vision !== undefined || !OF_PICTURES.has(key)
  return {
    directory: files.directory,
    family: config.family,
    preset: preset.name,
    preset_reason: preset.reason,
    weights: files.weights,
    tokenizer: tokenizer.file,
    text: config.text,
    vision: config.vision,
    ...(config.vision && { tokens: config.tokens }),
    adapter: files.adapter ? { directory: files.adapter.directory, ...(await readAdapterConfig(files.adapter)) } : null,
    settings: Object.fromEntries(Object.entries(values).filter(concerns)),
    settings_from: Object.fromEntries(Object.entries(sources).filter(concerns))
  }
}
