import { describe, expect, it } from 'vitest'
import { resolve } from '../../../src/options.js'
import { trainOptions } from '../../../src/train/options.js'

const targets = (...texts: string[]): string | string[] =>
  resolve(trainOptions, {
    flags: { 'model.path': ['m'], data: ['{"path":"d"}'], 'output.dir': ['o'], 'tune.target-modules': texts }
  }).tune.target_modules

describe('--tune.target-modules', () => {
  it('takes names as a list of suffixes and anything else as one regular expression', () => {
    expect(targets('q_proj,k_proj')).toEqual(['q_proj', 'k_proj'])
    expect(targets('q_proj', 'mlp.0')).toEqual(['q_proj', 'mlp.0'])
    expect(targets(String.raw`.*\.(q|k)_proj`)).toBe(String.raw`.*\.(q|k)_proj`)
    expect(targets('all-linear')).toBe('all-linear')
  })
})
