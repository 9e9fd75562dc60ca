/** This project's candidate: what `embed`, `train` and the preparation of pictures run. */
import { createHash } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { computePrepared, DEFAULT_BATCH_TOKENS } from '../../dist/model/compute.js'
import { readModelConfig } from '../../dist/model/config.js'
import { mapOrdered, PREPARED_AHEAD } from '../../dist/model/pipeline.js'
import { native } from '../../dist/native.js'
import { openConfig } from '../../dist/bench/model.js'
import { PictureCache } from '../../dist/preprocess/picture-cache.js'
import { inputRules } from '../../dist/preprocess/rules.js'
import { preparationOf, prepareVisual, readVisual, sizeVisual } from '../../dist/preprocess/visuals.js'
import { accumulateGradients } from '../../dist/train/grad-cache.js'
import { contrastOf } from '../../dist/train/contrast.js'
import { candidate } from './candidate.mjs'
import { readInputs } from './inputs.mjs'

const JOBS = { embed, train, images }
await candidate((settings) => JOBS[settings.job](settings))

async function opened({ folder, dtype, threads }) {
  const model = join(folder, 'model')
  const files = [join(model, 'model.safetensors')]
  const type = dtype === 'int8' ? { dtype: 'f32', quantize: 'int8' } : { dtype }
  return { config: await readModelConfig(model), files, ...type, device: 'cpu', threads: Number(threads) }
}

async function embed(settings) {
  const model = await native().loadModel(await opened(settings))
  const items = readInputs(settings.folder)
  const run = async () => {
    const batches = []
    for await (const batch of computePrepared(model, items, { batchTokens: DEFAULT_BATCH_TOKENS }))
      batches.push(...batch)
    return Float32Array.from(batches)
  }
  return { run }
}

async function train(settings) {
  const base = await opened(settings)
  const modules = native()
    .linearModules(base.config)
    .filter(({ part }) => part === 'text')
  const trainer = await native().createTrainer({
    ...base,
    mode: 'lora',
    freeze: [],
    dropout: 0,
    initialization: 'kaiming',
    seed: 1,
    activationMemory: 0,
    adapters: modules.map(({ name }) => ({ module: name, rank: Number(settings.rank), scale: 2, dora: false }))
  })
  const items = readInputs(settings.folder)
  const pairs = Array.from({ length: items.length / 2 }, (_, i) => ({
    query: items[2 * i],
    positives: [items[2 * i + 1]],
    negatives: []
  }))
  let step = 0
  const options = {
    chunkSize: Number(settings.chunk),
    temperature: 0.02,
    dtype: base.dtype,
    shareEqual: 'items',
    device: 'cpu',
    threads: base.threads
  }
  const run = async () => {
    const { loss } = await accumulateGradients(trainer, contrastOf(pairs, 'keep'), ++step, options)
    await trainer.update({ learningRate: 1e-5, weightDecay: 0, maxGradNorm: 1 })
    return Float32Array.of(loss)
  }
  return { run }
}

/** The output is a number for each picture that its pixels decide (48 bits of a hash). */
async function images({ photos, items }) {
  const { config, settings } = await openConfig(null)
  const names = readdirSync(photos).sort()
  const preparation = preparationOf(config.vision, settings)
  const prepare = async (index) => {
    const place = { imageRoot: photos, where: names[index % names.length], index: 0 }
    const sized = await sizeVisual(
      await readVisual(names[index % names.length], place),
      { rules: inputRules(config), settings, pictures: new PictureCache(0) },
      place
    )
    return native().patchify(await prepareVisual(sized, preparation))
  }
  const count = Number(items)
  let first = true
  const run = async () => {
    const hashes = []
    for await (const patches of mapOrdered(Array(count).keys(), prepare, PREPARED_AHEAD))
      if (first && hashes.length < 3 * names.length) hashes.push(...hashOf(patches))
    first = false
    return Float32Array.from(hashes)
  }
  return { run }
}

function hashOf(patches) {
  const digest = createHash('sha256').update(patches).digest()
  return [0, 2, 4].map((at) => digest.readUInt16LE(at))
}
