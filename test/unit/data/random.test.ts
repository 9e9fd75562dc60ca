import { describe, expect, it } from 'vitest'
import { Permutation, randomBits, randomUniform } from '../../../src/data/random.js'

describe('randomBits', () => {
  // Printed by native/core/random.h.
  it.each([
    ['0', '0', '0', '0'],
    ['1', '0', '0', '48218226ff3cd4bf'],
    ['0', '1', '0', '7ab40e090f363a7d'],
    ['0', '0', '1', 'e220a8397b1dcdaf'],
    ['42', '7', '123456789', '4405416e71556a62'],
    ['18446744073709551615', '3', '5', '445e71284dd150d0'],
    ['42', '8316025794605114657', '9', '73d6aa5c63fc4af9']
  ])('gives the bits of the native function for (%s, %s, %s)', (seed, stream, counter, bits) => {
    expect(randomBits(BigInt(seed), BigInt(stream), BigInt(counter)).toString(16)).toBe(bits)
  })
})

describe('randomUniform', () => {
  it('lies in [0, 1) with a mean of a half', () => {
    let sum = 0
    for (let counter = 0n; counter < 4000n; counter++) {
      const value = randomUniform(1n, 2n, counter)
      expect(value >= 0 && value < 1).toBe(true)
      sum += value
    }
    expect(Math.abs(sum / 4000 - 0.5)).toBeLessThan(0.02)
  })
})

describe('Permutation', () => {
  const all = (length: number, seed: number, index: number): number[] => {
    const permutation = new Permutation(length, seed, index)
    return Array.from({ length }, (_, position) => permutation.at(position))
  }

  it.each([1, 2, 3, 4, 5, 16, 17, 100, 1000, 4097])('holds each of %i numbers once', (length) => {
    expect(all(length, 42, 0).toSorted((a, b) => a - b)).toEqual(Array.from({ length }, (_, index) => index))
  })

  it('depends on seed and index', () => {
    const base = all(100, 1, 0)
    expect(all(100, 1, 0)).toEqual(base)
    expect(all(100, 2, 0)).not.toEqual(base)
    expect(all(100, 1, 1)).not.toEqual(base)
  })

  it('brings every number to every place about equally often', () => {
    const counts = Array.from({ length: 6 }, () => Array<number>(6).fill(0))
    for (let index = 0; index < 6000; index++)
      for (const [place, value] of all(6, 9, index).entries()) counts[place]![value]!++
    for (const count of counts.flat()) expect(Math.abs(count - 1000)).toBeLessThan(150)
  })

  it('gives neighbours no fixed distance', () => {
    const order = all(1000, 3, 0)
    const steps = new Set(order.slice(1).map((value, index) => value - order[index]!))
    expect(steps.size).toBeGreaterThan(500)
  })
})
