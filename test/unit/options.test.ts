import { describe, expect, expectTypeOf, it } from 'vitest'
import {
  boolean,
  either,
  flatten,
  integer,
  list,
  matching,
  modelPath,
  nearestOf,
  nullable,
  number,
  oneOf,
  option,
  path,
  required,
  resolve,
  string,
  tables,
  unknownFlag,
  validate,
  type Given
} from '../../src/options.js'

const table = {
  input: required(path, 'items'),
  name: option(nullable(string), null, 'a name'),
  shuffle: option(boolean, false, 'shuffle'),
  train: {
    batch_size: option(integer(1, 100), 16, 'rows a step'),
    learning_rate: option(number(0), 1e-3, 'rate'),
    schedule: option(oneOf('linear', 'constant'), 'linear', 'schedule'),
    modules: option(list(string), ['q_proj'], 'modules')
  },
  data: option(tables({ path: required(path, 'file'), weight: option(number(0), 1, 'share') }), [], 'sources')
}

describe('Given', () => {
  it('asks for the keys without default, and for groups and mappings that have some', () => {
    type Config = Given<typeof table>
    expectTypeOf<{ input: string }>().toExtend<Config>()
    expectTypeOf<{ name: string }>().not.toExtend<Config>()
    expectTypeOf<{ input: string; train: { batch_size: number; modules: string } }>().toExtend<Config>()
    expectTypeOf<{ input: string; train: { batch_size: string } }>().not.toExtend<Config>()
    expectTypeOf<{ input: string; data: { path: string }[] }>().toExtend<Config>()
    expectTypeOf<{ input: string; data: { weight: number }[] }>().not.toExtend<Config>()
    const grouped = { output: { dir: required(path, 'directory'), every: option(integer(0), 1, 'steps') } }
    expectTypeOf<{ output: { dir: string } }>().toExtend<Given<typeof grouped>>()
    expectTypeOf<{ output: { every: number } }>().not.toExtend<Given<typeof grouped>>()
    expectTypeOf<object>().not.toExtend<Given<typeof grouped>>()
  })
})

describe('validate', () => {
  it('fills in defaults, with a copy of lists', () => {
    const first = validate(table, { input: 'a' }, 'test')
    expect(first).toEqual({
      input: 'a',
      name: null,
      shuffle: false,
      train: { batch_size: 16, learning_rate: 1e-3, schedule: 'linear', modules: ['q_proj'] },
      data: []
    })
    first.train.modules.push('x')
    expect(validate(table, { input: 'a' }, 'test').train.modules).toEqual(['q_proj'])
  })

  it('names the key, the place, the kind expected and the value received', () => {
    expect(() => validate(table, { input: 'a', train: { batch_size: 'x' } }, 'run.yaml')).toThrow(
      'Expected a whole number from 1 to 100 for "train.batch_size" in run.yaml, received "x".'
    )
    expect(() => validate(table, { input: 'a', train: { batch_size: 1.5 } }, 'run.yaml')).toThrow('received 1.5')
    expect(() => validate(table, { input: 'a', train: 3 }, 'run.yaml')).toThrow('Expected a mapping for "train"')
    expect(() => validate(table, { input: 'a', train: { schedule: 'cosine' } }, 'run.yaml')).toThrow(
      'one of linear, constant'
    )
    expect(() => validate(table, {}, 'run.yaml')).toThrow('Expected a path for "input" in run.yaml, received nothing.')
  })

  it('refuses unknown keys, lists the known ones and suggests the nearest', () => {
    expect(() => validate(table, { input: 'a', train: { batchsize: 1 } }, 'run.yaml')).toThrow(
      /Unknown key "train.batchsize" in run.yaml \(did you mean "train.batch_size"\?\). Known keys: input, name, .*data/
    )
    expect(() => validate(table, { input: 'a', constructor: 1 }, 'run.yaml')).toThrow('Unknown key "constructor"')
  })

  it('checks the mappings of a list one by one', () => {
    const given = { input: 'a', data: [{ path: 'x' }, { path: 'y', weight: 'heavy' }] }
    expect(() => validate(table, given, 'run.yaml')).toThrow('"data[1].weight" in run.yaml, received "heavy"')
    expect(() => validate(table, { input: 'a', data: [{ paht: 'x' }] }, 'run.yaml')).toThrow('did you mean "path"?')
    expect(validate(table, { input: 'a', data: [{ path: 'x' }] }, 'run.yaml', 'dir').data).toEqual([
      { path: 'dir/x', weight: 1 }
    ])
  })

  it('reads relative paths from the folder of the file that names them', () => {
    expect(validate(table, { input: 'a/b' }, 'x', '/c').input).toBe('/c/a/b')
    expect(validate(table, { input: '/a' }, 'x', '/c').input).toBe('/a')
    expect(validate(table, { input: '-' }, 'x', '/c').input).toBe('-')
    const model = { model: required(modelPath, 'model') }
    expect(validate(model, { model: 'owner/name' }, 'x', '/c').model).toBe('owner/name')
    expect(validate(model, { model: './here' }, 'x', '/c').model).toBe('/c/here')
  })
})

describe('resolve', () => {
  const config = { path: 'conf/run.yaml', values: { input: 'a', train: { batch_size: 2, learning_rate: 2 } } }

  it('lets flags override variables, variables the file, and the file the defaults', () => {
    const values = resolve(table, {
      flags: { 'train.batch-size': ['4'] },
      environment: { VLM2VEC_TRAIN_BATCH_SIZE: '3', VLM2VEC_TRAIN_LEARNING_RATE: '3' },
      config
    })
    expect(values.input).toBe('conf/a')
    expect(values.train).toMatchObject({ batch_size: 4, learning_rate: 3, schedule: 'linear' })
  })

  it('reads texts by the kind of the option', () => {
    const flags = {
      input: ['x'],
      name: ['none'],
      shuffle: ['yes'],
      'train.modules': ['a, b', 'c'],
      'train.learning-rate': ['1e-4'],
      data: ['{"path":"p"}', '{"path":"q","weight":2}']
    }
    expect(resolve(table, { flags })).toEqual({
      input: 'x',
      name: null,
      shuffle: true,
      train: { batch_size: 16, learning_rate: 1e-4, schedule: 'linear', modules: ['a', 'b', 'c'] },
      data: [
        { path: 'p', weight: 1 },
        { path: 'q', weight: 2 }
      ]
    })
  })

  it('names the flag or variable that holds a wrong value', () => {
    expect(() => resolve(table, { flags: { input: ['x'], 'train.batch-size': ['many'] } })).toThrow(
      'for "train.batch_size" in --train.batch-size, received "many"'
    )
    expect(() => resolve(table, { flags: { input: ['x'] }, environment: { VLM2VEC_SHUFFLE: 'maybe' } })).toThrow(
      'in VLM2VEC_SHUFFLE, received "maybe"'
    )
    expect(() => resolve(table, { flags: { input: ['x', 'y'] } })).toThrow('--input was given 2 times')
    expect(() => resolve(table, { flags: { inptu: ['x'] } })).toThrow('did you mean --input?')
    expect(() => resolve(table, { flags: { data: ['{'], input: ['x'] } })).toThrow('"data[0]"')
  })
})

describe('checks', () => {
  const place = { key: 'k', where: 'w' }

  it('take the first kind that fits', () => {
    const check = either(integer(), oneOf('auto'))
    expect(check.read(3, place)).toBe(3)
    expect(check.read('auto', place)).toBe('auto')
    expect(check.read('other', place)).toBeUndefined()
    expect(check.fromText('7')).toBe(7)
    expect(check.fromText('auto')).toBe('auto')
    expect(either(list(integer()), string).read('x', place)).toBe('x')
  })

  it('hold bounds, patterns and finite numbers', () => {
    expect(number(0, 1).read(2, place)).toBeUndefined()
    expect(number().read(NaN, place)).toBeUndefined()
    expect(integer(0).fromText(' ')).toBe(' ')
    expect(matching(/^a+$/, 'letters').read('ab', place)).toBeUndefined()
    expect(list(integer()).read(3, place)).toEqual([3])
    expect(list(integer()).fromText('')).toEqual([])
  })
})

describe('flatten', () => {
  it('lists every option by its flat key, in order', () => {
    expect([...flatten(table).keys()].slice(2, 5)).toEqual(['shuffle', 'train.batch_size', 'train.learning_rate'])
  })
})

describe('nearestOf', () => {
  it('suggests a known name only where few edits lead to it', () => {
    expect(nearestOf('batch-sise', ['train.batch-size', 'input'])).toBe('train.batch-size')
    expect(nearestOf('zzzzzz', ['train.batch-size', 'input'])).toBeUndefined()
    expect(unknownFlag('zzzzzz', ['input']).message).toBe('Unknown flag --zzzzzz. Known flags: --input.')
  })
})
