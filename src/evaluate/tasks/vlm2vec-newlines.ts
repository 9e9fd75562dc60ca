/**
 * The prompts of VLM2Vec's evaluation, whose white space its checkpoints were scored with: `image_cls_dataset.py`,
 * `image_qa_dataset.py`, `image_i2t_eval.py` and `image_t2i_eval.py` of its second version.
 *
 * - with a picture: placeholder, instruction and text, `" \n"` becomes `"\n"`, and a newline follows; in question answering
 *   the instruction begins a line
 * - a text with an instruction: a newline follows, in VisDial two
 * - a text alone (class names, answers, captions) stays as it is, and so do rows whose text holds the whole prompt
 */
import type { Item } from '../../data/item.js'
import type { Task } from '../task.js'

export function withNewlines(item: Item, side: 'query' | 'target', { name, meta_task: group }: Task): Item {
  const { instruction, text = '', images = [], videos = [] } = item
  if (instruction === undefined || videos.length > 0 || images.length > 1) return item
  const bare = instruction.replaceAll(PLACEHOLDER, '')
  if (images.length === 0) {
    if (side === 'target') return item
    return { instruction: '', text: `${bare} ${text}\n${/VisDial/i.test(name) ? '\n' : ''}` }
  }
  const question = side === 'query' && /qa|question/i.test(group)
  const said = [PLACEHOLDER, question ? `\n${bare.trim()}` : bare, ...(text ? [text] : [])].join(' ')
  return { instruction: '', text: `${said.replaceAll(' \n', '\n')}\n`, images }
}

/** Of MMEB's files; every model takes it. */
const PLACEHOLDER = '<|image_1|>'
