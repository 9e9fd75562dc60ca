/**
 * The tasks that a scene gives, as training rows and as MMEB evaluation rows. A file of pictures is named by what it shows:
 * `first` and `second` are two views of a scene, `asked` and `other` the crops of its objects from the first view.
 */
import { COLOURS, OBJECTS, SHAPES, captionOf, nounOf } from './scenes.mjs'

export const INSTRUCTIONS = {
  classify: 'Name the large object.',
  answer: 'Answer the question:',
  findPicture: 'Find the picture of',
  findCaption: 'Describe the scene.',
  findView: 'Find another view of the scene.',
  cutOut: 'Cut out',
  picture: 'A scene.',
  part: 'An object.'
}

const NAMES = OBJECTS.map(nounOf)
const ANSWERS = [...NAMES, ...COLOURS, ...SHAPES]
/** Crops that a grounding query chooses from. */
const CROPS = 16

/** Each task: its meta-task, the query and target of a scene, the candidates of its evaluation, and its share of training. */
export const TASKS = {
  'large-object': { metaTask: 'classification', ask: askLarge, candidates: () => NAMES.map((text) => ({ text })) },
  questions: {
    metaTask: 'question answering',
    ask: askQuestion,
    candidates: () => ANSWERS.map((text) => ({ text })),
    weight: 2
  },
  'text-to-image': {
    metaTask: 'retrieval',
    ask: (scene) => ({
      query: { instruction: INSTRUCTIONS.findPicture, text: captionOf(scene) },
      target: { instruction: INSTRUCTIONS.picture, image: scene.files.first }
    }),
    candidates: (scenes) => scenes.map((each) => ({ image: each.files.first }))
  },
  'image-to-text': {
    metaTask: 'retrieval',
    ask: (scene) => ({
      query: { instruction: INSTRUCTIONS.findCaption, image: scene.files.first },
      target: { text: captionOf(scene) }
    }),
    candidates: (scenes) => scenes.map((each) => ({ text: captionOf(each) }))
  },
  'image-to-image': {
    metaTask: 'retrieval',
    ask: (scene) => ({
      query: { instruction: INSTRUCTIONS.findView, image: scene.files.first },
      target: { instruction: INSTRUCTIONS.picture, image: scene.files.second }
    }),
    candidates: (scenes) => scenes.map((each) => ({ image: each.files.second }))
  },
  crops: { metaTask: 'visual grounding', ask: askCrop, candidates: cropsFor }
}

function askLarge(scene) {
  const large = scene.askedIsLarge ? scene.asked : scene.other
  return { query: { instruction: INSTRUCTIONS.classify, image: scene.files.first }, target: { text: nounOf(large) } }
}

/** Colour or shape of the asked object, or all of it; the question names it by size, or by what stands beside it. */
function askQuestion(scene, random) {
  const { asked, other } = scene
  const size = scene.askedIsLarge ? 'large' : 'small'
  const [question, answer] = random.pick([
    [`what colour is the ${size} object ?`, asked.colour],
    [`what shape is the ${size} object ?`, asked.shape],
    [`what colour is beside the ${other.name} ?`, asked.colour],
    [`what is beside the ${other.name} ?`, nounOf(asked)]
  ])
  return {
    query: { instruction: INSTRUCTIONS.answer, text: question, image: scene.files.first },
    target: { text: answer }
  }
}

/** Points at the asked object by one of its properties, or by its relation to the other one. */
function askCrop(scene, random) {
  const { asked, other, relation } = scene
  const direction = scene.objects[0] === asked ? relation.name : relation.inverse
  const phrase = random.pick([
    `the ${asked.colour} object`,
    `the ${asked.shape}`,
    `the object ${direction} the ${other.name}`,
    `the ${scene.askedIsLarge ? 'large' : 'small'} object`
  ])
  return {
    query: { instruction: INSTRUCTIONS.cutOut, text: phrase, image: scene.files.first },
    target: { instruction: INSTRUCTIONS.part, image: scene.files.asked },
    negative: { instruction: INSTRUCTIONS.part, image: scene.files.other }
  }
}

/** The other object of the scene, and objects of other scenes: all of them different in shape or colour. */
function cropsFor(scenes, scene, random) {
  const names = new Set([scene.asked.name, scene.other.name])
  const crops = [{ image: scene.files.asked }, { image: scene.files.other }]
  for (const each of random.shuffled(scenes)) {
    if (crops.length === CROPS) break
    for (const which of ['asked', 'other']) {
      if (crops.length === CROPS || names.has(each[which].name)) continue
      names.add(each[which].name)
      crops.push({ image: each.files[which] })
    }
  }
  return crops
}

/** Every text that training can show: what the tokenizer is made from. */
export function textsOf(scenes) {
  const questions = scenes.flatMap((scene) => [
    captionOf(scene),
    `what is beside the ${scene.other.name} ?`,
    `what colour is beside the ${scene.other.name} ?`,
    ...scene.objects.flatMap((object) => [`the ${object.shape}`, `the ${object.colour} object`]),
    `the object ${scene.relation.name} the ${scene.other.name}`,
    ...['large', 'small'].flatMap((size) => [
      `what colour is the ${size} object ?`,
      `what shape is the ${size} object ?`
    ])
  ])
  return [...Object.values(INSTRUCTIONS), ...COLOURS, ...SHAPES, ...questions]
}
