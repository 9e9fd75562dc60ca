/**
 * Rows of MMEB: `qry_text`, `qry_img_path`, `tgt_text` [..], `tgt_img_path` [..], and in the newer form `qry_inst`,
 * `tgt_inst`. The answer is the candidate at index 0. Rows of videos have `qry_video`, `tgt_video` [..]: folders of frames
 * or lists of frames.
 *
 * Global candidates are those of all rows, each content once. What makes two the same follows VLM2Vec: the text, or the
 * picture's path, or both together where a candidate has both (VLM2Vec takes the path alone in WebQA and EDIS, so that two
 * captions of one picture become one; here they stay apart).
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Item, Video } from '../../data/item.js'
import { Vlm2VecError } from '../../errors.js'
import { CandidatePool, itemKey, type Query, type Task, type TaskData } from '../task.js'
import { Fields, isEmpty, itemOf, type Located } from './fields.js'

export async function mmebTask(task: Task, records: Located[], imageRoot: string): Promise<TaskData> {
  const pool = new CandidatePool()
  const queries: Query[] = []
  for (const located of records) {
    const row = new Fields(located, imageRoot)
    const item = await queryItem(task, row)
    const candidates = await candidateItems(task, row)
    const indices = candidates.map((each) => pool.add(itemKey(each.item), each))
    queries.push({
      item,
      name: nameOf(item),
      where: row.where,
      relevant: new Map([[indices[0]!, 1]]),
      ...(task.candidates === 'local' && { candidates: indices })
    })
  }
  return { queries, candidates: pool.entries }
}

async function queryItem(task: Task, row: Fields): Promise<Item> {
  const images = (row.texts('qry_img_path', 'qry_image_path') ?? []).filter(Boolean).map((path) => row.resolve(path))
  const item = itemOf({
    instruction: row.text('qry_inst') ?? task.query_instruction ?? undefined,
    text: row.text('qry_text'),
    images,
    videos: await videosOf(task, row, row.texts('qry_video') ?? [])
  })
  // An instruction alone is a query too: newer MMEB rows hold the whole question there.
  if (isEmpty(item) && !item.instruction) throw row.problem('the query is empty; give "qry_text" or "qry_img_path"')
  return item
}

async function candidateItems(task: Task, row: Fields): Promise<{ item: Item; name: string; where: string }[]> {
  const texts = row.texts('tgt_text') ?? []
  const images = row.texts('tgt_img_path', 'tgt_image_path') ?? []
  const videos = row.texts('tgt_video') ?? []
  const instructions = row.texts('tgt_inst') ?? []
  const count = Math.max(texts.length, images.length, videos.length)
  if (count === 0) throw row.problem('there are no candidates; give "tgt_text" or "tgt_img_path"')
  for (const [column, list] of Object.entries({ tgt_text: texts, tgt_img_path: images, tgt_video: videos }))
    if (list.length > 0 && list.length !== count)
      throw row.problem(`"${column}" has ${list.length} entries, another candidate column has ${count}`)
  const candidates = []
  for (let i = 0; i < count; i++) {
    const [text, image, video] = [texts[i], images[i], videos[i]]
    const item = itemOf({
      instruction: instructions[instructions.length === 1 ? 0 : i] || (task.target_instruction ?? undefined),
      text,
      images: image ? [row.resolve(image)] : [],
      videos: await videosOf(task, row, video ? [video] : [])
    })
    if (isEmpty(item)) throw row.problem(`candidate ${i} is empty`)
    candidates.push({
      item,
      name: [image, video, text].filter(Boolean).join(':'),
      where: `${row.where}, candidate ${i}`
    })
  }
  return candidates
}

/** A folder of frames is read in order of names, and `frames` of them are taken evenly. Several paths are frames. */
async function videosOf(task: Task, row: Fields, paths: string[]): Promise<Video[]> {
  const given = paths.filter(Boolean).map((path) => row.resolve(path))
  if (given.length === 0) return []
  if (given.length > 1) return [{ frames: given, fps: task.fps }]
  const folder = given[0]!
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new Vlm2VecError('E_DATA', `${row.where}: ${folder} is no folder of frames.`, { cause })
  })
  const pictures = names.filter((name) => /\.(jpe?g|png|webp|bmp)$/i.test(name)).sort(inNumericOrder)
  if (pictures.length === 0) throw row.problem(`${folder} holds no pictures`)
  const frames = evenly(pictures, task.frames).map((name) => join(folder, name))
  return [{ frames, fps: task.fps }]
}

const inNumericOrder = (a: string, b: string): number => a.localeCompare(b, 'en', { numeric: true })

/** `count` entries from the first to the last; all where there are fewer (numpy's linspace, cut to whole numbers). */
export function evenly<T>(values: readonly T[], count: number): T[] {
  if (values.length <= count) return [...values]
  const step = count === 1 ? 0 : (values.length - 1) / (count - 1)
  return Array.from({ length: count }, (_, i) => values[Math.floor(i * step + 1e-9)]!)
}

function nameOf({ text, instruction, images = [] }: Item): string {
  return [...images.map((image) => (typeof image === 'string' ? image : '')), text ?? instruction ?? '']
    .filter(Boolean)
    .join(':')
}
