/** Single operations, called in the addon as the model calls them (native/bench/cases.h). */
import { native } from '../native.js'
import { boolean, integer, oneOf, option } from '../options.js'
import { defineKind, type BenchContext } from './kinds.js'
import type { Job } from './measure.js'

const backward = option(boolean, false, 'the backward pass')
const size = (value: number, doc: string) => option(integer(1), value, doc)

async function open(kind: string, values: object, { dtype, device }: BenchContext): Promise<Job> {
  const made = await native().benchCase({ kind, dtype, ...values }, device)
  return { flops: made.flops, bytes: made.bytes, run: (count) => made.run(count), close: () => made.close() }
}

export const attention = defineKind({
  options: {
    B: size(4, 'sequences'),
    heads: size(12, 'query heads'),
    kv_heads: size(12, 'key-value heads'),
    tokens: size(1024, 'tokens of a sequence'),
    size: size(128, 'numbers of a head'),
    causal: option(boolean, false, 'tokens see only what is before them'),
    backward
  },
  cases: [
    {},
    { causal: true },
    { backward: true },
    { causal: true, backward: true },
    { B: 32, tokens: 256, size: 64 },
    { B: 32, tokens: 96, size: 64, kv_heads: 4, causal: true }
  ],
  open: (values, context) => open('attention', values, context)
})

export const matmul = defineKind({
  options: {
    M: size(1024, 'rows'),
    N: size(3072, 'outputs'),
    K: size(768, 'inputs'),
    product: option(oneOf('forward', 'dx', 'dw'), 'forward', 'X Wᵀ, dY W or dYᵀ X')
  },
  cases: [
    ...[256, 1024].flatMap((M) => [
      { M, N: 768, K: 768 },
      { M, N: 3072, K: 768 },
      { M, N: 768, K: 3072 },
      { M, N: 1536, K: 8192 }
    ]),
    { product: 'dx' },
    { product: 'dw' }
  ],
  open: (values, context) => open('matmul', values, context)
})

export const linear = defineKind({
  options: {
    M: size(1024, 'rows'),
    N: size(2048, 'outputs'),
    K: size(768, 'inputs'),
    rank: option(integer(0), 0, 'rank of its adapter; 0: none'),
    backward
  },
  cases: [{}, { rank: 16 }, { backward: true }, { rank: 16, backward: true }],
  open: (values, context) => open('linear', values, context)
})

const OPS = ['rmsnorm', 'layernorm', 'rope', 'swiglu', 'gelu'] as const

export const layers = defineKind({
  options: {
    op: option(oneOf(...OPS), 'rmsnorm', 'what stands between the products'),
    M: size(8192, 'rows'),
    C: size(2048, 'numbers a row'),
    backward
  },
  cases: OPS.flatMap((op) => [{ op }, { op, backward: true }]),
  open: (values, context) => open('layers', values, context)
})
