/** A few queries of a task with what was found for them, pictures reduced to thumbnails: the examples of report.html. */
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import type { ImageSource, Item } from '../data/item.js'
import type { Ranking } from './rank.js'
import type { Example, Shown } from './report-html.js'
import type { TaskData } from './task.js'

const QUERIES = 4
const FOUND = 5
const THUMBNAIL_PIXELS = 120
const TEXT_LENGTH = 200

/** Queries spread evenly over the task. */
export async function examplesOf({ queries, candidates }: TaskData, rankings: Ranking[]): Promise<Example[]> {
  const stride = Math.max(1, Math.floor(queries.length / QUERIES))
  const chosen = queries.map((_, i) => i).filter((i) => i % stride === 0)
  return Promise.all(
    chosen.slice(0, QUERIES).map(async (i) => {
      const { indices, scores, gains } = rankings[i]!
      const found = indices.slice(0, FOUND).map(async (index, place) => ({
        ...(await show(candidates[index]!.item)),
        right: gains[place]! > 0,
        score: scores[place]!
      }))
      return { query: await show(queries[i]!.item), found: await Promise.all(found) }
    })
  )
}

async function show({ text = '', instruction = '', images = [], videos = [] }: Item): Promise<Shown> {
  const sources = [...images, ...videos.flatMap(({ frames }) => frames.slice(0, 1))]
  const thumbnails = await Promise.all(sources.map(thumbnail))
  const words = (text || (sources.length === 0 ? instruction : ''))
    .replace(/<\|image_\d+\|>|<\|image_pad\|>/g, '')
    .trim()
  return {
    text: words.length > TEXT_LENGTH ? `${words.slice(0, TEXT_LENGTH)}…` : words,
    pictures: thumbnails.filter((url) => url !== '')
  }
}

/** A picture as a data: URL; '' for one that this can't show, since an example is no reason to fail. */
async function thumbnail(source: ImageSource): Promise<string> {
  try {
    const jpeg = await sharp(readable(source), { failOn: 'none' })
      .resize(THUMBNAIL_PIXELS, THUMBNAIL_PIXELS, { fit: 'inside', withoutEnlargement: true })
      .flatten({ background: '#fff' })
      .jpeg({ quality: 80 })
      .toBuffer()
    return `data:image/jpeg;base64,${jpeg.toString('base64')}`
  } catch {
    return ''
  }
}

function readable(source: ImageSource): string | Uint8Array {
  if (source instanceof Uint8Array) return source
  const text = String(source)
  if (text.startsWith('file:')) return fileURLToPath(text)
  const data = /^data:[^,]*;base64,(.*)$/s.exec(text)
  return data ? Buffer.from(data[1]!, 'base64') : text
}
