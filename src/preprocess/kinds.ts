/** The kinds of inputs that a model takes: text, pictures, videos; and the placeholders that stand for them in prompts. */
import { Vlm2VecError } from '../errors.js'
import type { Item } from '../data/item.js'
import type { ModelConfig } from '../model/config.js'
import type { Placeholders } from './prompt.js'
import type { InputRules } from './rules.js'
import type { Tokenizer } from './tokenizer.js'

/** E_DATA: pictures or videos, which the model does not take. */
export function checkKinds(
  { images = [], videos = [] }: Item,
  { family, tokens, dual, vision }: ModelConfig,
  label: string
): void {
  if (!vision && images.length + videos.length > 0)
    throw new Vlm2VecError(
      'E_DATA',
      `${label}: a ${family} model takes text only; the item has ${images.length > 0 ? 'pictures' : 'videos'}. ` +
        'Leave them out, or use a vision-language model.'
    )
  if (tokens.video < 0 && !dual && videos.length > 0)
    throw new Vlm2VecError('E_DATA', `${label}: this model takes no videos. Give frames as "images".`)
}

/**
 * The tokens that have the ids of config.json, which models with a tokenizer of their own may call differently; undefined: the
 * model takes text only.
 */
export function placeholdersOf(
  tokenizer: Tokenizer,
  { tokens, vision }: ModelConfig,
  { imagePlaceholder }: InputRules
): Placeholders | undefined {
  if (!vision) return undefined
  const token = (id: number, otherwise: string): string => (id < 0 ? undefined : tokenizer.tokenOf(id)) ?? otherwise
  return {
    image: imagePlaceholder ?? token(tokens.image, '<|image_pad|>'),
    video: token(tokens.video, '<|video_pad|>'),
    visionStart: token(tokens.visionStart, '<|vision_start|>'),
    visionEnd: token(tokens.visionEnd, '<|vision_end|>')
  }
}
