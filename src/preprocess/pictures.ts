/** The pictures and videos of a batch, each once, however many items show it. */
import { isDeepStrictEqual } from 'node:util'
import type { VisionConfig } from '../model/config.js'
import type { PreparedItem, PreparedVisual } from './prepared.js'

/** What the vision tower makes of a picture: a vector for each merged patch, or one where it has no decoder behind it. */
export function featureCount(
  [t, h, w]: PreparedVisual['grid'],
  { kind, mergeSize }: Pick<VisionConfig, 'kind' | 'mergeSize'>
): number {
  return kind === 'dual' ? 1 : (t * h * w) / mergeSize ** 2
}

/** Patches of an item's pictures. */
export const patchesOf = (item: PreparedItem): number =>
  item.visuals.reduce((sum, { grid }) => sum + patchCount(grid), 0)

/** What an item's pictures take. */
export const pixelBytes = (item: PreparedItem): number =>
  item.visuals.reduce((sum, { pixels }) => sum + pixels.byteLength, 0)

export const patchCount = ([t, h, w]: PreparedVisual['grid']): number => t * h * w

/** Numbers visuals from 0 on; equal ones have the same number, unless `shareEqual` is false. */
export class VisualNumbers {
  readonly #known = new Map<string, { visual: PreparedVisual; number: number }[]>()
  #count = 0

  constructor(private readonly shareEqual = true) {}

  of(visual: PreparedVisual): number {
    if (!this.shareEqual) return this.#count++
    const alike = this.#known.get(visual.key) ?? []
    const same = alike.find((each) => samePicture(each.visual, visual))
    if (same) return same.number
    this.#known.set(visual.key, [...alike, { visual, number: this.#count }])
    return this.#count++
  }
}

function samePicture(a: PreparedVisual, b: PreparedVisual): boolean {
  const facts = ({ grid, layout, tiles }: PreparedVisual) => ({ grid, layout, tiles })
  return isDeepStrictEqual(facts(a), facts(b)) && (a.pixels === b.pixels || Buffer.compare(a.pixels, b.pixels) === 0)
}

/** The pictures of one batch. */
export interface BatchPictures {
  /** those that it holds, and their numbers */
  own: Map<number, PreparedVisual>
  /** those whose features are there already: they follow those of its own */
  known: Map<number, PreparedVisual>
  /** for each visual of the items in order, its number */
  uses: number[]
}

/** Pictures by number; those that are known need not be there. */
export function picturesOf(
  items: readonly PreparedItem[],
  numberOf: (visual: PreparedVisual) => number,
  isKnown: (number: number) => boolean = () => false
): BatchPictures {
  const own = new Map<number, PreparedVisual>()
  const known = new Map<number, PreparedVisual>()
  const uses = items.flatMap(({ visuals }) =>
    visuals.map((visual) => {
      const number = numberOf(visual)
      const pictures = isKnown(number) ? known : own
      if (!pictures.has(number)) pictures.set(number, visual)
      return number
    })
  )
  return { own, known, uses }
}
