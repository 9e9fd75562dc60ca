/** Searches the test scenes through the package's API: by text, by picture, and by picture plus text. */
import { Embedder } from 'vlm2vec-native'
import { item } from './data-set.mjs'
import { isHeldOut, meaningOf } from './scenes.mjs'
import { INSTRUCTIONS, TASKS } from './tasks.mjs'

/** Pictures found for a query. */
const FOUND = 6

/**
 * Embeds the second views and the crops of all test scenes, and finds the best for some scenes of either part. Returns
 * [{ title, query: {text, image}, found: [{ image, score, right }] }].
 */
export async function searchExamples({ model, directory, parts, random }) {
  const scenes = [...parts.seen, ...parts.unseen]
  const embedder = await Embedder.load(model, { imageRoot: directory })
  try {
    const views = await indexOf(embedder, scenes, INSTRUCTIONS.picture, ['second'])
    const crops = await indexOf(embedder, scenes, INSTRUCTIONS.part, ['asked', 'other'])
    const chosen = [parts.seen[0], parts.unseen[0], parts.unseen[1]]
    const sameScene = (scene) => (entry) => meaningOf(entry.scene) === meaningOf(scene)
    const sameObject = (scene) => (entry) => entry.scene[entry.which].name === scene.asked.name
    const searches = [
      ['by text', 'text-to-image', views, sameScene],
      ['by picture', 'image-to-image', views, sameScene],
      ['by picture and text', 'crops', crops, sameObject]
    ].flatMap(([title, task, index, right]) =>
      chosen.map((scene) => ({
        title,
        unseen: isHeldOut(scene.asked),
        query: TASKS[task].ask(scene, random).query,
        index,
        right: right(scene)
      }))
    )
    const vectors = await embedder.embed(searches.map(({ query }) => item(query)))
    return searches.map(({ index, right, ...search }, i) => ({
      ...search,
      found: nearest(index, vectors.data.subarray(i * vectors.dimension, (i + 1) * vectors.dimension)).map((entry) => ({
        image: entry.image,
        score: entry.score,
        right: right(entry)
      }))
    }))
  } finally {
    await embedder.close()
  }
}

async function indexOf(embedder, scenes, instruction, kinds) {
  const entries = scenes.flatMap((scene) => kinds.map((which) => ({ scene, which, image: scene.files[which] })))
  const vectors = await embedder.embed(entries.map(({ image }) => item({ instruction, image })))
  return { entries, vectors }
}

/** The entries with the largest dot products, best first. */
function nearest({ entries, vectors: { data, dimension } }, query) {
  const scored = entries.map((entry, i) => {
    let score = 0
    for (let d = 0; d < dimension; d++) score += query[d] * data[i * dimension + d]
    return { ...entry, score }
  })
  return scored.sort((a, b) => b.score - a.score).slice(0, FOUND)
}
