/** What `plan` says of memory is what a run takes: the peak of a process over what it takes once everything is loaded. */
import { beforeAll, describe, expect, it } from 'vitest'
import { command, temporaryFolder } from './golden.js'
import { peakOfTraining, writeConfig, writeExample } from './tiny.js'

/** Peak and estimate are not further apart: node's own memory comes and goes. */
const FACTOR = 1.3

const folder = temporaryFolder()
// 22 million parameters, of which the least part is embeddings
beforeAll(
  () =>
    writeExample(folder, {
      hidden: 512,
      intermediate: 1536,
      layers: 6,
      heads: 8,
      kvHeads: 4,
      depth: 4,
      embed: 256,
      visionHeads: 4,
      scale: 1
    }),
  60_000
)

describe.each(['f32', 'bf16'])('plan in %s', (dtype) => {
  it.each([
    [
      'lora',
      {
        tune: { rank: 16, target_modules: ['q_proj', 'v_proj', 'up_proj', 'down_proj'] },
        train: { batch_size: 12, chunk_size: 4 }
      }
    ],
    [
      'limit',
      { tune: { target_modules: ['q_proj'] }, train: { batch_size: 12, chunk_size: 12, activation_memory_mib: 300 } }
    ],
    [
      'full',
      {
        tune: { mode: 'full', rank: undefined, alpha: undefined, target_modules: undefined },
        train: { batch_size: 4, chunk_size: 4 }
      }
    ]
  ])(
    'says what a run takes (%s)',
    async (name, changes) => {
      const config = writeConfig(folder, `${name}-${dtype}`, {
        ...changes,
        model: { dtype },
        train: { ...changes.train, max_steps: 2, prefetch: 0 },
        output: { save_every: 0 }
      })
      const [line] = await command('plan', '--config', config, '--json', '--quiet', '--no-measure')
      const { memory_mib } = JSON.parse(line!) as { memory_mib: Record<string, number> }
      const peak = await peakOfTraining(config)
      const figures = `${Math.round(peak)} MiB taken, ${JSON.stringify(memory_mib)}`
      expect(peak / memory_mib['total']!, figures).toBeLessThanOrEqual(FACTOR)
      expect(memory_mib['total']! / peak, figures).toBeLessThanOrEqual(FACTOR)
    },
    120_000
  )
})
