import { describe, expect, it } from 'vitest'
import { fromPython, isAllLinear, patternValue, selects } from '../../../src/model/module-pattern.js'

const NAMES = [
  'model.language_model.layers.0.self_attn.q_proj',
  'model.language_model.layers.1.self_attn.q_proj',
  'model.language_model.layers.10.mlp.down_proj',
  'model.visual.blocks.0.attn.qkv',
  'model.visual.merger.mlp.0'
]
const chosen = (selection: Parameters<typeof selects>[0]): number[] =>
  NAMES.flatMap((name, index) => (selects(selection, name) ? [index] : []))

describe('selects', () => {
  it('takes a list as suffixes that begin at a dot', () => {
    expect(chosen({ targetModules: ['q_proj', 'mlp.0'] })).toEqual([0, 1, 4])
    expect(chosen({ targetModules: ['proj', '0'] })).toEqual([4])
    expect(chosen({ targetModules: [NAMES[2]!] })).toEqual([2])
  })

  it('takes a text as a regular expression for the whole name', () => {
    expect(chosen({ targetModules: 'q_proj' })).toEqual([])
    expect(chosen({ targetModules: String.raw`.*\.(q|down)_proj` })).toEqual([0, 1, 2])
    expect(chosen({ targetModules: String.raw`model\.visual\..*|.*layers\.1\..*` })).toEqual([1, 3, 4])
  })

  it('takes all linear modules by the word for it', () => {
    expect(chosen({ targetModules: 'ALL-linear' })).toEqual([0, 1, 2, 3, 4])
    expect(isAllLinear(['all-linear'])).toBe(false)
  })

  it('leaves excluded modules out, by suffix or expression', () => {
    expect(chosen({ targetModules: ['q_proj', 'qkv'], excludeModules: ['0.attn.qkv'] })).toEqual([0, 1])
    expect(chosen({ targetModules: 'all-linear', excludeModules: '.*visual.*' })).toEqual([0, 1, 2])
    expect(chosen({ targetModules: ['q_proj'], excludeModules: [] })).toEqual([0, 1])
  })

  it('counts layers by the first number, or by that after a named list', () => {
    expect(chosen({ targetModules: ['q_proj', 'qkv', 'down_proj'], layersToTransform: [0, 10] })).toEqual([0, 2, 3])
    expect(chosen({ targetModules: ['q_proj', 'qkv'], layersToTransform: [0], layersPattern: ['layers'] })).toEqual([0])
    expect(chosen({ targetModules: ['mlp.0'], layersToTransform: [0] })).toEqual([])
  })
})

describe('patternValue', () => {
  it('gives the value of the first pattern that the end of the name matches', () => {
    expect(patternValue({ q_proj: 1, [String.raw`layers\.1\..*`]: 2 }, NAMES[1]!)).toBe(1)
    expect(patternValue({ [String.raw`layers\.1\..*`]: 2, q_proj: 1 }, NAMES[1]!)).toBe(2)
    expect(patternValue({ proj: 3, '^model.*qkv': 4 }, NAMES[0]!)).toBeUndefined()
    expect(patternValue({ '^model.*qkv': 4 }, NAMES[3]!)).toBe(4)
  })
})

describe('fromPython', () => {
  const test = (pattern: string, text: string): boolean => new RegExp(`^(?:${fromPython(pattern)})$`).test(text)

  it('reads what Python spells differently', () => {
    expect(test('(?P<a>x)(?P=a)', 'xx')).toBe(true)
    expect(test('(?P<a>x)(?P=a)', 'xy')).toBe(false)
    expect(test(String.raw`\Ax\Z`, 'x')).toBe(true)
    expect(test('[]x]+', ']x]')).toBe(true)
    expect(test('[^]x]', ']')).toBe(false)
    expect(test('x{,2}', '')).toBe(true)
    expect(test('x(?#a comment)y', 'xy')).toBe(true)
    expect(test(String.raw`\[]`, '[]')).toBe(true)
  })

  it('refuses what cannot be read, with the pattern', () => {
    expect(() => fromPython('(')).toThrow('"("')
    expect(() => fromPython('(?i)q_proj')).toThrow('not supported')
  })
})
