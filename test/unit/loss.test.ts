import { describe, expect, it } from 'vitest'
import { contrastiveLoss } from '../../src/loss.js'

// What is wrong with the arguments is said before the addon is needed; test/integration/boundary.test.ts computes.
const two = new Float32Array(4)

describe('contrastiveLoss', () => {
  it.each([
    [{ dimension: 0 }, 'E_OPTION', 'for "dimension", received 0'],
    [{ dimension: 2, temperature: 0 }, 'E_OPTION', 'a number above 0 for "temperature"'],
    [{ dimension: 2, symmetric: 1 as never }, 'E_OPTION', 'true or false for "symmetric"'],
    [{ dimension: 2, dtype: 'f16' as never }, 'E_OPTION', "'f32' or 'bf16' for \"dtype\""],
    [{ dimension: 3 }, 'E_SHAPE', 'queries holds 4 numbers'],
    [{ dimension: 2, positives: [0, 1] as never }, 'E_OPTION', 'an Int32Array for "positives", received Array'],
    [{ dimension: 2, positives: new Int32Array(3) }, 'E_SHAPE', 'positives holds 3 numbers; 2 are needed'],
    [{ dimension: 2, positives: new Int32Array([0, 2]) }, 'E_SHAPE', 'positives[1] is 2; targets count from 0 to 1'],
    [{ dimension: 2, mask: [new Int32Array(2)] as never }, 'E_OPTION', 'a pair of Int32Arrays'],
    [{ dimension: 2, mask: [new Int32Array(2), new Int32Array(1)] as const }, 'E_SHAPE', 'mask[1] holds 1 numbers'],
    [{ dimension: 2, device: 'gpu' }, 'E_OPTION', 'one of auto, cpu, cuda, cuda:N']
  ])('refuses %o', async (options, code, message) => {
    await expect(contrastiveLoss(two, two, options)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message)
    })
  })

  it('asks for positives where targets are no multiple of the queries', async () => {
    await expect(contrastiveLoss(two, new Float32Array(6), { dimension: 2 })).rejects.toThrow(
      '3 targets are not a multiple of 2'
    )
    await expect(contrastiveLoss([1] as never, two, { dimension: 2 })).rejects.toThrow('a Float32Array for "queries"')
  })
})
