import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { writeImageFolder } from '../../../src/data/image-folder.js'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'folder-'))
})
afterEach(() => rm(directory, { recursive: true }))

async function files(...paths: string[]): Promise<string> {
  const root = join(directory, 'train')
  for (const path of paths) {
    await mkdir(join(root, path, '..'), { recursive: true })
    await writeFile(join(root, path), '')
  }
  return root
}
const output = (): string => join(directory, 'train.jsonl')
const rows = async (): Promise<unknown[]> =>
  (await readFile(output(), 'utf8'))
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as unknown)

describe('writeImageFolder', () => {
  it('writes a row for every picture, in order of classes and names, paths relative to the file', async () => {
    const root = await files(
      'fire_truck/b.JPG',
      'fire_truck/a.png',
      'Cat/10.webp',
      'Cat/deep/9.jpeg',
      'Cat/notes.txt',
      'Cat/.hidden.png'
    )
    const result = await writeImageFolder(root, { output: output(), instruction: 'What is it?' })
    const row = (path: string, text: string): unknown => ({
      query: { instruction: 'What is it?', images: [`train/${path}`] },
      target: { text }
    })
    expect(await rows()).toEqual([
      row('Cat/10.webp', 'Cat'),
      row('Cat/deep/9.jpeg', 'Cat'),
      row('fire_truck/a.png', 'fire truck'),
      row('fire_truck/b.JPG', 'fire truck')
    ])
    expect(result).toEqual({
      rows: 4,
      classes: [
        { name: 'Cat', pictures: 2 },
        { name: 'fire truck', pictures: 2 }
      ]
    })
    expect((await readdir(directory)).sort()).toEqual(['train', 'train.jsonl'])
  })

  it('keeps underscores, limits a class and starts paths from another folder where asked', async () => {
    const root = await files('a_b/1.png', 'a_b/2.png', 'c/1.png')
    await writeImageFolder(root, { output: output(), spaces: false, limitPerClass: 1, imageRoot: root })
    expect(await rows()).toEqual([
      { query: { images: ['a_b/1.png'] }, target: { text: 'a_b' } },
      { query: { images: ['c/1.png'] }, target: { text: 'c' } }
    ])
  })

  it.each<[string, string[], RegExp]>([
    ['a class without pictures', ['cat/1.png', 'dog/readme.txt'], /train.dog: no pictures/],
    ['pictures without classes', ['1.png'], /no folders of classes/],
    ['classes that differ by underscores only', ['a_b/1.png', 'a b/1.png'], /same name.*underscores/]
  ])('refuses %s and writes nothing', async (_, paths, message) => {
    const root = await files(...paths)
    await expect(writeImageFolder(root, { output: output() })).rejects.toMatchObject({
      code: 'E_DATA',
      message: expect.stringMatching(message)
    })
    expect(await readdir(directory)).toEqual(['train'])
  })

  it('refuses a folder that is not there', async () => {
    const missing = writeImageFolder(join(directory, 'none'), { output: output() })
    await expect(missing).rejects.toMatchObject({
      code: 'E_DATA',
      message: expect.stringContaining('no such directory')
    })
  })
})
