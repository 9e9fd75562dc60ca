/**
 * A folder of classes (torchvision's ImageFolder layout: `DIR/<class>/**.jpg`) as training rows: the picture is the query,
 * the name of its class the target.
 */
import { readdir } from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { writeWhole } from '../atomic.js'
import { Vlm2VecError } from '../errors.js'

export interface ImageFolderOptions {
  /** JSONL file to write */
  output: string
  /** of every query */
  instruction?: string | undefined
  /** underscores in class names become spaces; default true */
  spaces?: boolean
  /** pictures of a class, at most; the first in order of their names */
  limitPerClass?: number | undefined
  /** folder that the paths in the file are relative to; default: that of the file */
  imageRoot?: string | undefined
}

export interface ImageFolderResult {
  rows: number
  /** pictures of each class, by name, in order */
  classes: { name: string; pictures: number }[]
}

const EXTENSIONS = /\.(jpe?g|png|webp|gif|tiff?|avif)$/i

/** Rows in order of classes and file names. E_DATA: no classes, or a class without pictures. */
export async function writeImageFolder(directory: string, options: ImageFolderOptions): Promise<ImageFolderResult> {
  const root = resolve(options.imageRoot ?? dirname(options.output))
  const lines: string[] = []
  const classes: ImageFolderResult['classes'] = []
  for (const folder of await classFolders(directory)) {
    const name = options.spaces === false ? folder : folder.replaceAll('_', ' ').trim()
    const pictures = (await picturesIn(join(directory, folder))).slice(0, options.limitPerClass)
    if (pictures.length === 0)
      throw new Vlm2VecError('E_DATA', `${join(directory, folder)}: no pictures. Remove the empty class, or add some.`)
    classes.push({ name, pictures: pictures.length })
    for (const picture of pictures) {
      const path = relative(root, resolve(picture)).split(sep).join('/')
      const instruction = options.instruction ? { instruction: options.instruction } : {}
      lines.push(`${JSON.stringify({ query: { ...instruction, images: [path] }, target: { text: name } })}\n`)
    }
  }
  const names = new Set(classes.map(({ name }) => name))
  if (names.size < classes.length)
    throw new Vlm2VecError(
      'E_DATA',
      `${directory}: two classes have the same name once underscores are spaces. Keep the underscores.`
    )
  await writeWhole(options.output, lines.join(''))
  return { rows: lines.length, classes }
}

async function classFolders(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((cause: NodeJS.ErrnoException) => {
    const reason = cause.code === 'ENOENT' ? 'no such directory' : cause.message
    throw new Vlm2VecError('E_DATA', `${directory}: ${reason}.`, { cause })
  })
  const folders = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.')).map(({ name }) => name)
  if (folders.length === 0)
    throw new Vlm2VecError(
      'E_DATA',
      `${directory}: no folders of classes. Expected one folder a class with its pictures.`
    )
  return folders.sort(byCodeUnits)
}

async function picturesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && EXTENSIONS.test(entry.name) && !entry.name.startsWith('.'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort(byCodeUnits)
}

/** The same order on every machine, whatever its locale. */
function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
