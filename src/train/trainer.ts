/** The native trainer of a run, and what it leaves in a checkpoint: a directory that PEFT or transformers loads. */
import { join } from 'node:path'
import { writeWhole } from '../atomic.js'
import { adapterConfigJson } from '../model/adapter.js'
import { copyModelFiles, presetOf } from '../model/model-files.js'
import { writePreset } from '../model/preset.js'
import { unfitForSentenceTransformers, writeSentenceTransformers } from '../model/sentence-transformers-files.js'
import { writeModelCard } from '../model/write-model-card.js'
import { native, type NativeTrainer } from '../native.js'
import { OPTIMIZER_FILE } from './checkpoint.js'
import { nameOfSource, type RunSetup } from './setup.js'

const MIB = 2 ** 20

/** Loads the model, new or as it was at `checkpoint`. */
export async function createTrainer(setup: RunSetup, checkpoint: string | undefined): Promise<NativeTrainer> {
  const { options, base, config, adapter } = setup
  const trainer = await native().createTrainer({
    ...setup.device,
    config,
    files: base.weights,
    dtype: options.model.dtype,
    quantize: options.model.quantize,
    mode: options.tune.mode,
    freeze: options.tune.mode === 'full' ? options.tune.freeze : [],
    dropout: options.tune.mode === 'lora' ? options.tune.dropout : 0,
    initialization: options.tune.initialization,
    seed: options.train.seed,
    activationMemory: options.train.activation_memory_mib * MIB,
    ...(adapter && { adapters: adapter.modules }),
    ...(base.adapter && { adapterFile: base.adapter.weights })
  })
  if (checkpoint !== undefined) {
    try {
      await trainer.restoreState(join(checkpoint, OPTIMIZER_FILE))
    } catch (error) {
      await trainer.close()
      throw error
    }
  }
  return trainer
}

/** Model and optimizer. */
export async function saveTrainer(trainer: NativeTrainer, setup: RunSetup, directory: string): Promise<void> {
  await saveModel(trainer, setup, directory)
  await trainer.saveState(join(directory, OPTIMIZER_FILE))
}

/**
 * lora: a PEFT directory. full: a Hugging Face model directory with the base's other files, which sentence-transformers loads
 * too. Both remember the prompt, and have a model card.
 */
export async function saveModel(trainer: NativeTrainer, setup: RunSetup, directory: string): Promise<void> {
  if (setup.adapter) {
    await trainer.saveWeights({ path: join(directory, 'adapter_model.safetensors'), dtype: 'f32' })
    const json = adapterConfigJson(setup.adapter.config, setup.adapter.linear, setup.adapter.tree)
    await writeWhole(join(directory, 'adapter_config.json'), json)
  } else {
    await copyModelFiles(setup.base.directory, directory)
    await trainer.saveWeights({ path: join(directory, 'model.safetensors'), dtype: 'base' })
  }
  const { processor, options } = setup
  const dimension = processor.config.text.hiddenSize
  await writePreset(directory, presetOf(processor.settings))
  const sentenceTransformers = !setup.adapter && unfitForSentenceTransformers(processor) === undefined
  if (sentenceTransformers) await writeSentenceTransformers(directory, processor, dimension)
  await writeModelCard(directory, processor, {
    kind: setup.adapter ? 'adapter' : 'model',
    base: options.model.path,
    dimension,
    sentenceTransformers,
    made: [
      `Trained contrastively on ${setup.rows.length} rows of ${options.data.map(nameOfSource).join(', ')}: batches of ` +
        `${options.train.batch_size}, learning rate ${options.train.learning_rate}, temperature ${options.train.temperature}.`
    ]
  })
}
