import { describe, expect, it } from 'vitest'
import { readTasksFile } from '../../../src/evaluate/options.js'

const task = { path: 'a.jsonl', format: 'mmeb' }
const named = { name: 'a', ...task }

describe('a file of tasks', () => {
  it('is a list of tasks', () => {
    expect(readTasksFile([named])).toEqual({ definitions: [named] })
  })

  it('or a mapping with a list of tasks beside other options', () => {
    expect(readTasksFile({ tasks: [named], limit: 5 })).toEqual({ definitions: [named], limit: 5 })
  })

  it('or a mapping from names to tasks, alone or as `tasks`', () => {
    expect(readTasksFile({ a: task })).toEqual({ definitions: [named] })
    expect(readTasksFile({ tasks: { a: task } })).toEqual({ definitions: [named] })
  })

  it('may also name the tasks that are run, as the flag does', () => {
    const document = { definitions: [named], tasks: ['a'] }
    expect(readTasksFile(document)).toBe(document)
  })
})
