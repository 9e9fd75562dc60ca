/** The contrastive loss of a batch, by the function that training calls. */
import { contrastiveLoss } from '../loss.js'
import { boolean, integer, number, option } from '../options.js'
import { randomFloats } from './inputs.js'
import { defineKind } from './kinds.js'
import { timed } from './measure.js'

export const loss = defineKind({
  options: {
    B: option(integer(2), 4096, 'queries, and as many targets'),
    D: option(integer(1), 1024, 'numbers of an embedding'),
    symmetric: option(boolean, false, 'also from targets to queries'),
    gradients: option(boolean, true, 'forward and backward; false: forward'),
    temperature: option(number(1e-6), 0.02, 'divides the similarities')
  },
  cases: [{}, { symmetric: true }, { gradients: false }],
  open: async ({ B, D, symmetric, gradients, temperature }, { dtype, device }) => {
    const [queries, targets] = [unitRows(B, D, 1), unitRows(B, D, 2)]
    const options = { dimension: D, temperature, symmetric, gradients, dtype, ...device }
    return {
      flops: (gradients ? 8 : 2) * B * B * D,
      bytes: 4 * 2 * B * D * (gradients ? 2 : 1),
      run: (count) => timed(count, async () => void (await contrastiveLoss(queries, targets, options))),
      close: () => Promise.resolve()
    }
  }
})

function unitRows(rows: number, width: number, seed: number): Float32Array {
  const values = randomFloats(rows * width, seed)
  for (let row = 0; row < rows; row++) {
    const one = values.subarray(row * width, (row + 1) * width)
    const norm = Math.sqrt(one.reduce((sum, value) => sum + value * value, 0))
    for (let i = 0; i < width; i++) one[i]! /= norm
  }
  return values
}
