/** Placeholders among the tokens of a prompt: what each stands for, and how many tokens it becomes. */
import { Vlm2VecError } from '../errors.js'
import type { ImageSource, Item, Video } from '../data/item.js'
import type { ModelConfig } from '../model/config.js'
import type { Placeholders } from './prompt.js'
import type { InputRules, VisualRun } from './rules.js'
import type { ProcessorSettings } from './settings.js'
import type { Tokenizer } from './tokenizer.js'
import type { SizedVisual } from './visuals.js'

/** What their meaning depends on. */
interface Family {
  config: ModelConfig
  rules: InputRules
}

/** E_MODEL where there are not as many as the item has pictures and videos. */
export function checkPlaceholders(
  ids: Int32Array,
  { images = [], videos = [] }: Item,
  family: Family & { tokenizer: Tokenizer; placeholders: Placeholders | undefined },
  label: string
): void {
  const { tokenizer, placeholders } = family
  const { image, video } = family.config.tokens
  const found = { images: 0, videos: 0 }
  for (const id of ids) {
    const kind = kindOf(id, family)
    if (kind === 'image') found.images++
    else if (kind === 'video') found.videos++
  }
  const parts = videos.reduce((sum, each) => sum + videoParts(each, family), 0)
  if (found.images !== images.length || found.videos !== parts)
    throw new Vlm2VecError(
      'E_MODEL',
      `${label}: ${images.length} images and ${videos.length} videos became ${found.images} and ${found.videos} ` +
        `placeholder tokens: in ${tokenizer.file}, ${placeholders?.image} and ${placeholders?.video} must be ` +
        `added tokens with the ids ${image} and ${video} of config.json.`
    )
}

/** Pictures and videos in order of their placeholders. `imageOrder`: which picture each placeholder of one stands for. */
export function inPromptOrder(
  ids: Int32Array,
  { images = [], videos = [] }: Item,
  imageOrder: readonly number[],
  family: Family
): (ImageSource | Video)[] {
  let image = 0
  let video = 0
  let parts = 0
  const visuals = []
  for (const id of ids) {
    const kind = kindOf(id, family)
    if (kind === 'image') visuals.push(images[imageOrder[image++]!]!)
    else if (kind === 'video' && --parts <= 0) {
      parts = videoParts(videos[video]!, family)
      visuals.push(videos[video++]!)
    }
  }
  return visuals
}

/** Each placeholder becomes as many as its picture has merged patches. E_DATA: too many tokens, or none. */
export function expandPlaceholders(
  ids: Int32Array,
  visuals: readonly SizedVisual[],
  family: Family & { settings: Pick<ProcessorSettings, 'maxLength'> },
  label: string
): { tokens: Int32Array; runs: VisualRun[] } {
  const { rules, settings } = family
  const parts = visuals.flatMap(({ kind, grid, fps, featureRows }) =>
    rules.parts(kind, grid).map((part) => ({ kind, fps, grid: part, featureRows }))
  )
  const counts = parts.map(({ grid, featureRows }) => featureRows?.length ?? rules.tokenCount(grid))
  const length = ids.length + counts.reduce((sum, count) => sum + count - 1, 0)
  if (length === 0)
    throw new Vlm2VecError('E_DATA', `${label}: the prompt has no tokens. Give the item a text or a picture.`)
  if (length > settings.maxLength) {
    const pictures = visuals.length > 0 ? `, ${counts.reduce((sum, count) => sum + count, 0)} of them of pictures` : ''
    throw new Vlm2VecError(
      'E_DATA',
      `${label}: the item is ${length} tokens long${pictures}; at most ${settings.maxLength} are allowed. ` +
        'Shorten it, lower --max-pixels, or raise --max-length.'
    )
  }
  const tokens = new Int32Array(length)
  const runs: VisualRun[] = []
  let end = 0
  for (const id of ids) {
    const visual = kindOf(id, family) ? runs.length : -1
    const count = visual < 0 ? 1 : counts[visual]!
    if (visual >= 0) runs.push({ start: end, ...parts[visual]! })
    tokens.fill(id, end, end + count)
    end += count
  }
  return { tokens, runs }
}

/** What a placeholder stands for; undefined: the id is no placeholder. */
function kindOf(id: number, { config }: Family): 'image' | 'video' | undefined {
  const { image, video } = config.tokens
  return id < 0 || id === image ? 'image' : id === video ? 'video' : undefined
}

/** How many placeholders of the prompt stand for a video. */
function videoParts({ frames }: Video, { config, rules }: Family): number {
  const times = Math.ceil(frames.length / config.vision!.temporalPatchSize)
  return rules.parts('video', [times, 1, 1]).length
}
