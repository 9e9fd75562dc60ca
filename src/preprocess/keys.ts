/** Keys of prepared items and pictures: what is equal need not be computed twice, and is no negative of itself. */
import { createHash } from 'node:crypto'
import type { Item } from '../data/item.js'
import type { Augmentation } from './augment.js'
import type { EncodedVisual } from './visuals.js'

/** Beside the content: how pictures were augmented, and the times of frames. */
export function inputKey(
  content: string,
  { images = [], videos = [] }: Item,
  augment: Augmentation | undefined
): string {
  if (images.length + videos.length === 0) return content
  return [content, ...videos.map(({ fps }) => fps), augment && JSON.stringify(augment)].join(' ')
}

/** Of the encoded pictures, and of how they were augmented: `index` counts the pictures of the item. */
export function visualKey(
  { kind, digests }: EncodedVisual,
  { augment, index }: { augment?: Augmentation | undefined; index: number }
): string {
  return [kind, ...digests, ...(augment ? [JSON.stringify(augment), index] : [])].join(' ')
}

export function contentKey(prompt: string, visuals: readonly EncodedVisual[]): string {
  const content = [prompt, visuals.map(({ kind, digests }) => [kind, digests])]
  return createHash('sha256').update(JSON.stringify(content)).digest('hex')
}
