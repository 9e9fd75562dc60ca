/** Draws the scenes of a data set and writes pictures, training rows (one file a task) and evaluation rows in MMEB's form. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Random } from '../random.mjs'
import { boxOf, crop, drawView, writePng } from './draw.mjs'
import { drawScenes, layOut } from './scenes.mjs'
import { TASKS } from './tasks.mjs'

/** Side of a picture in pixels. */
export const SIDE = 112
/** Pictures that are compressed at a time. */
const AT_A_TIME = 64

/**
 * Writes the data set into `directory` and returns its parts: `train`, and `seen` and `unseen` for testing, each a list of
 * scenes with the files of their pictures.
 */
export async function writeDataSet(directory, { seed, scenes, testScenes }) {
  const random = new Random(seed)
  const taken = new Set()
  const parts = {
    seen: drawScenes(random, testScenes, { combinations: 'seen', taken, distinct: true }),
    unseen: drawScenes(random, testScenes, { combinations: 'unseen', taken, distinct: true }),
    train: drawScenes(random, scenes, { combinations: 'seen', taken, distinct: false })
  }
  for (const [part, list] of Object.entries(parts)) await drawPictures(directory, part, list, random)
  writeTrainingRows(directory, parts.train, random)
  for (const part of ['seen', 'unseen']) writeTasks(directory, part, parts[part], random)
  return parts
}

async function drawPictures(directory, part, scenes, random) {
  mkdirSync(join(directory, part), { recursive: true })
  let writing = []
  for (const [i, scene] of scenes.entries()) {
    const name = (what) => `${part}/${String(i).padStart(5, '0')}-${what}.png`
    scene.files = { first: name('first'), second: name('second'), asked: name('asked'), other: name('other') }
    const write = (file, pixels, side) => writing.push(writePng(join(directory, file), pixels, side))
    const view = layOut(scene, random)
    const pixels = drawView(view, SIDE)
    write(scene.files.first, pixels, SIDE)
    write(scene.files.second, drawView(layOut(scene, random), SIDE), SIDE)
    for (const [j, object] of view.objects.entries()) {
      const box = boxOf(object, SIDE)
      write(scene.files[scene.objects[j] === scene.asked ? 'asked' : 'other'], crop(pixels, SIDE, box), box.side)
    }
    if (writing.length >= AT_A_TIME) await Promise.all(writing.splice(0))
  }
  await Promise.all(writing)
}

function writeTrainingRows(directory, scenes, random) {
  for (const [name, task] of Object.entries(TASKS)) {
    const rows = scenes.map((scene) => {
      const { query, target, negative } = task.ask(scene, random)
      return { query: item(query), target: item(target), ...(negative && { negatives: [item(negative)] }) }
    })
    writeLines(join(directory, `train-${name}.jsonl`), rows)
  }
}

function writeTasks(directory, part, scenes, random) {
  for (const [name, task] of Object.entries(TASKS)) {
    const rows = scenes.map((scene) => {
      const { query, target } = task.ask(scene, random)
      const same = (candidate) => candidate.text === target.text && candidate.image === target.image
      const candidates = [target, ...task.candidates(scenes, scene, random).filter((each) => !same(each))]
      return {
        qry_inst: query.instruction,
        ...(query.text && { qry_text: query.text }),
        ...(query.image && { qry_img_path: query.image }),
        ...(target.instruction && { tgt_inst: target.instruction }),
        ...(target.text && { tgt_text: candidates.map(({ text }) => text) }),
        ...(target.image && { tgt_img_path: candidates.map(({ image }) => image) })
      }
    })
    writeLines(join(directory, `${name}-${part}.jsonl`), rows)
  }
}

/** An item as the package takes it. */
export function item({ instruction, text, image }) {
  return { ...(instruction && { instruction }), ...(text && { text }), ...(image && { images: [image] }) }
}

function writeLines(path, rows) {
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
}
