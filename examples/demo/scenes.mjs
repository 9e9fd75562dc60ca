/**
 * Scenes: two coloured shapes, a large and a small one, that stand in a relation. Some combinations of shape and colour are
 * held out of training, so that a model shows on them whether it has learned shapes and colours, or only their list.
 */
export const SHAPES = ['circle', 'square', 'triangle', 'star', 'cross', 'ring']
export const COLOURS = ['red', 'green', 'blue', 'yellow', 'purple', 'orange', 'cyan', 'white']
/** From the first object to the second, with the direction in which the second lies. */
export const RELATIONS = [
  { name: 'left of', inverse: 'right of', dx: 1, dy: 0 },
  { name: 'right of', inverse: 'left of', dx: -1, dy: 0 },
  { name: 'above', inverse: 'below', dx: 0, dy: 1 },
  { name: 'below', inverse: 'above', dx: 0, dy: -1 }
]

export const OBJECTS = SHAPES.flatMap((shape) =>
  COLOURS.map((colour) => ({ shape, colour, name: `${colour} ${shape}` }))
)

/** One shape of every colour: each colour and each shape is still seen, in other combinations. */
export const HELD_OUT = new Set(COLOURS.map((colour, i) => `${colour} ${SHAPES[(i * 5 + 2) % SHAPES.length]}`))

export function isHeldOut(object) {
  return HELD_OUT.has(object.name)
}

export function captionOf(scene) {
  return `${nounOf(scene.objects[0])} ${scene.relation.name} ${nounOf(scene.objects[1])}`
}

/** "a red circle", "an orange ring" */
export function nounOf(object) {
  return `${/^[aeiou]/.test(object.name) ? 'an' : 'a'} ${object.name}`
}

/** Equal for scenes that a caption does not tell apart: "a left of b" is "b right of a". */
export function meaningOf(scene) {
  const [a, b] = scene.objects
  const { name, inverse } = scene.relation
  return a.name < b.name ? `${a.name}|${name}|${b.name}` : `${b.name}|${inverse}|${a.name}`
}

/**
 * `count` scenes whose meaning is not in `taken`. With `distinct`, no two mean the same, and their meanings are taken.
 * `combinations`: 'seen' (no object is held out) or 'unseen' (the asked one is).
 */
export function drawScenes(random, count, { combinations, taken, distinct }) {
  const seen = OBJECTS.filter((object) => !isHeldOut(object))
  const unseen = OBJECTS.filter(isHeldOut)
  const scenes = []
  for (let tries = 0; scenes.length < count; tries++) {
    if (tries > 1000 * count) throw new Error(`there are not ${count} different scenes of ${combinations} combinations`)
    const asked = random.pick(combinations === 'seen' ? seen : unseen)
    const other = random.pick(combinations === 'seen' ? seen : OBJECTS)
    if (asked.shape === other.shape || asked.colour === other.colour) continue
    const objects = random.shuffled([asked, other])
    const scene = { asked, other, objects, relation: random.pick(RELATIONS), askedIsLarge: random.next() < 0.5 }
    const meaning = meaningOf(scene)
    if (taken.has(meaning)) continue
    if (distinct) taken.add(meaning)
    scenes.push(scene)
  }
  return scenes
}

/**
 * Where and how large the objects of a scene are in one view of it; two views of a scene differ in everything but its
 * meaning and which object is large. Coordinates and radii are in parts of the picture's side.
 */
export function layOut(scene, random) {
  const { dx, dy } = scene.relation
  const gap = random.between(0.23, 0.26)
  const drift = random.between(-0.1, 0.1)
  const centre = { x: 0.5 + random.between(-0.02, 0.02), y: 0.5 + random.between(-0.02, 0.02) }
  const objects = scene.objects.map((object, i) => {
    const side = i === 0 ? -1 : 1
    const large = (object === scene.asked) === scene.askedIsLarge
    return {
      ...object,
      x: centre.x + side * (dx * gap + dy * drift),
      y: centre.y + side * (dy * gap + dx * drift),
      radius: large ? random.between(0.23, 0.26) : random.between(0.14, 0.17),
      angle: random.between(-0.15, 0.15)
    }
  })
  return { objects, background: [random.between(0, 1), random.between(0.1, 0.3), random.between(0.05, 0.25)] }
}
