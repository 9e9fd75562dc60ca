/** `train`: contrastive training from a config; writes a run directory. */
import { defineCommand } from '../command.js'
import { trainOptions } from '../train/options.js'

export const command = defineCommand({
  options: trainOptions,
  aliases: { device: 'model.device' },
  examples: ['train --config train.yaml', 'train --config train.yaml --train.batch-size 64 --output.dir runs/b64'],
  run: async ({ model, tune, data, train: run, prompt, evaluate, output, threads, json }, { print, log, signal }) => {
    const { train } = await import('../train/train.js')
    let first = 0
    let total = 0
    let progress = log.progress('Training', 'steps')
    for await (const event of train(
      { model, tune, data, train: run, prompt, evaluate, output },
      { signal, threads, log }
    )) {
      if (json) await print(JSON.stringify(event))
      switch (event.type) {
        case 'start':
          first = event.step
          total = event.max_steps
          for (const warning of event.warnings) log.warn(warning)
          if (event.resumed_from) log.info(`Going on from ${event.resumed_from}.`)
          progress = log.progress('Training', 'steps', total - first)
          break
        case 'step':
          progress.update(event.step - first, noteOf(event.step, total, event.loss))
          break
        case 'checkpoint':
          log.info(`Wrote ${event.directory}.`)
          break
        case 'evaluation':
          for (const score of event.scores)
            log.info(`Step ${event.step}: ${score.name} ${score.metric} ${(100 * score[score.metric]).toFixed(1)}.`)
          break
        case 'done':
          progress.end()
          if (!json) await print(event.directory)
      }
    }
  }
})

function noteOf(step: number, total: number, loss: number): string {
  return `step ${step} of ${total}, loss ${loss.toPrecision(4)}`
}
