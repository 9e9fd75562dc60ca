/** Whole jobs on prepared items: what `embed` and `train` do once pictures and texts are read. */
import { computePrepared, DEFAULT_BATCH_TOKENS } from '../model/compute.js'
import { native } from '../native.js'
import { integer, matching, modelPath, nullable, number, option } from '../options.js'
import { pixelBytes } from '../preprocess/pictures.js'
import type { PreparedItem } from '../preprocess/prepared.js'
import { contrastOf } from '../train/contrast.js'
import { accumulateGradients } from '../train/grad-cache.js'
import { forwardFlops, loraStepFlops } from './flops.js'
import { lengthsOf, randomItem } from './inputs.js'
import { defineKind } from './kinds.js'
import { timed } from './measure.js'
import { openModel } from './model.js'

const MIB = 2 ** 20
const inputs = {
  model: option(
    nullable(modelPath),
    null,
    'directory, or config.json alone (random weights); default: 123M parameters'
  ),
  items: option(integer(1), 32, 'items, or pairs'),
  lengths: option(matching(/^\d+(-\d+)?$/, 'N or N-M'), '32', 'tokens of text of an item'),
  image: option(integer(0), 224, 'pixels a side of the picture of an item; 0: none'),
  pictures: option(number(0, 1), 1, 'share of the items (train: queries) that have a picture')
}

export const embed = defineKind({
  options: {
    ...inputs,
    chunk: option(integer(0), 0, `items computed with at a time; 0: as many as ${DEFAULT_BATCH_TOKENS} tokens hold`)
  },
  cases: [{}, { lengths: '16-512', pictures: 0.5 }, { lengths: '128', image: 0 }, { lengths: '16-512', image: 0 }],
  open: async ({ model: path, items: count, chunk, ...shape }, { dtype, device, ...context }) => {
    const { config, files, close } = await openModel(path, { dtype, device, ...context })
    const model = await native()
      .loadModel({ ...device, config, files, dtype })
      .finally(close)
    const lengths = lengthsOf(shape.lengths, count)
    const items = lengths.map((length, i) =>
      randomItem(config, { length, side: hasPicture(i, shape.pictures) ? shape.image : 0, seed: i + 1 })
    )
    const { vision, text } = forwardFlops(config, native().linearModules(config), items)
    const limits = chunk > 0 ? { batchItems: chunk } : { batchTokens: DEFAULT_BATCH_TOKENS }
    return {
      flops: vision + text,
      bytes: inputBytes(items),
      done: { count, unit: 'items' },
      run: (times) =>
        timed(times, async () => {
          for await (const batch of computePrepared(model, items, limits)) void batch
        }),
      close: () => model.close()
    }
  }
})

export const train = defineKind({
  options: {
    ...inputs,
    chunk: option(integer(1), 8, 'sequences that are computed at a time'),
    rank: option(integer(1), 16, 'of adapters on every linear layer of the text model'),
    activation_memory_mib: option(integer(0), 0, 'kept activations; 0: as few as cost no time')
  },
  cases: [{}, { lengths: '16-512', pictures: 0.5 }],
  open: async (
    { model: path, items: count, chunk, rank, activation_memory_mib, ...shape },
    { dtype, device, ...context }
  ) => {
    const { config, files, close } = await openModel(path, { dtype, device, ...context })
    const modules = native()
      .linearModules(config)
      .filter(({ part }) => part === 'text')
    const trainer = await native()
      .createTrainer({
        ...device,
        config,
        files,
        dtype,
        mode: 'lora',
        freeze: [],
        dropout: 0,
        initialization: 'kaiming',
        seed: 1,
        activationMemory: activation_memory_mib * MIB,
        adapters: modules.map(({ name }) => ({ module: name, rank, scale: 2, dora: false }))
      })
      .finally(close)
    const lengths = lengthsOf(shape.lengths, 2 * count)
    const pairs = Array.from({ length: count }, (_, i) => {
      const side = hasPicture(i, shape.pictures) ? shape.image : 0
      const query = randomItem(config, { length: lengths[2 * i]!, side, seed: 2 * i + 1 })
      return {
        query,
        positives: [randomItem(config, { length: lengths[2 * i + 1]!, side: 0, seed: 2 * i + 2 })],
        negatives: []
      }
    })
    const items = pairs.flatMap(({ query, positives }) => [query, ...positives])
    const flops = forwardFlops(config, native().linearModules(config), items)
    const tokens = items.reduce((sum, item) => sum + item.tokens.length, 0)
    let step = 0
    return {
      flops: loraStepFlops(flops, tokens, rank, modules),
      bytes: inputBytes(items),
      done: { count, unit: 'pairs' },
      run: (times) =>
        timed(times, async () => {
          const options = { chunkSize: chunk, temperature: 0.02, dtype, shareEqual: 'items' as const, ...device }
          await accumulateGradients(trainer, contrastOf(pairs, 'mask'), ++step, options)
          await trainer.update({ learningRate: 1e-5, weightDecay: 0, maxGradNorm: 1 })
        }),
      close: () => trainer.close()
    }
  }
})

/** Every n-th, so that any share is spread evenly. */
function hasPicture(index: number, share: number): boolean {
  return Math.floor((index + 1) * share) > Math.floor(index * share)
}

function inputBytes(items: readonly PreparedItem[]): number {
  return items.reduce((sum, item) => sum + 16 * item.tokens.length + pixelBytes(item), 0)
}
