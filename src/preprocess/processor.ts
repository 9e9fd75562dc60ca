/** Items to model inputs: the prompt, its tokens with placeholders expanded, their positions, and the patches of pictures. */
import { Vlm2VecError } from '../errors.js'
import type { Item, Video } from '../data/item.js'
import { readModelConfig, takesPictures, type ModelConfig } from '../model/config.js'
import type { Augmentation } from './augment.js'
import type { Slot } from './byte-budget.js'
import { ChatTemplate } from './chat-template.js'
import { DualTokens, dualItem } from './dual.js'
import { contentKey, inputKey } from './keys.js'
import { checkKinds, placeholdersOf } from './kinds.js'
import { PictureCache } from './picture-cache.js'
import type { PreparedItem } from './prepared.js'
import { assemblePrompt, type Placeholders } from './prompt.js'
import { inputRules, type InputRules, type VisualRun } from './rules.js'
import { resolveSettings, type ProcessorOptions, type ProcessorSettings } from './settings.js'
import { Tokenizer } from './tokenizer.js'
import {
  bytesOf,
  DEFAULT_FPS,
  patchesOf,
  readVisual,
  sizeVisual,
  type EncodedVisual,
  type SizedVisual,
  type VisualPlace
} from './visuals.js'

export interface ItemPlace {
  /** folder that relative paths of pictures start from */
  imageRoot: string
  /** for messages: 'items.jsonl: record 3' */
  label: string
  keepResized?: boolean
  augment?: Augmentation | undefined
  /** asked for the bytes that the pictures take, before they are decoded; afterwards it holds what the patches take */
  slot?: Slot | undefined
}

export class Processor {
  private constructor(
    readonly config: ModelConfig,
    readonly rules: InputRules,
    readonly settings: ProcessorSettings,
    readonly tokenizer: Tokenizer,
    /** undefined: the model takes text only */
    readonly placeholders: Placeholders | undefined,
    /** with the prompt `chat` */
    readonly chatTemplate: ChatTemplate | undefined,
    private readonly dual: DualTokens | undefined,
    readonly pictures: PictureCache
  ) {}

  /** E_MODEL: config, tokenizer or processor files that are missing or not supported. E_OPTION: options that don't fit. */
  static async load(directory: string, options: ProcessorOptions = {}): Promise<Processor> {
    const config = await readModelConfig(directory)
    const settings = await resolveSettings(directory, config, options)
    const tokenizer = await Tokenizer.load(directory, config.dual?.pooling === 'eos' ? 'clip' : 'qwen2')
    const { maxLength } = settings
    const dual = config.dual && (await DualTokens.load(directory, config, { tokenizer, maxLength }))
    if (dual && (settings.prompt === 'chat' || settings.pooling !== 'last' || !settings.normalize))
      throw new Vlm2VecError(
        'E_OPTION',
        `${directory}: a model with two towers has a vector of its own for each text and picture; leave pooling and ` +
          'normalisation out, and use the prompt "raw".'
      )
    const chatTemplate = settings.prompt === 'chat' ? await ChatTemplate.load(directory, settings) : undefined
    if (settings.prompt === 'chat' && !chatTemplate)
      throw new Vlm2VecError(
        'E_MODEL',
        `${directory}: no chat template (chat_template.jinja, chat_template.json or tokenizer_config.json), which the prompt ` +
          '"chat" needs. Use "raw".'
      )
    const pictures = new PictureCache(options.pictureCache ?? 0)
    const rules = inputRules(config)
    const placeholders = placeholdersOf(tokenizer, config, rules)
    return new Processor(config, rules, settings, tokenizer, placeholders, chatTemplate, dual, pictures)
  }

  /** E_DATA: nothing to embed, wrong placeholders, too long. E_IMAGE: a picture that cannot be read or is refused. */
  async prepare(item: Item, place: ItemPlace): Promise<PreparedItem> {
    try {
      const prepared = await this.prepareInside(item, place)
      place.slot?.keep(prepared.visuals.reduce((sum, { patches }) => sum + patches.byteLength, 0))
      return prepared
    } catch (error) {
      place.slot?.keep(0)
      throw error
    }
  }

  private async prepareInside(item: Item, itemPlace: ItemPlace): Promise<PreparedItem> {
    const { imageRoot, label, keepResized = false, augment } = itemPlace
    checkKinds(item, this.config, label)
    if (this.dual) return this.prepareApart(this.dual, item, itemPlace)
    const prompt = assemblePrompt(
      item,
      {
        style: this.settings.prompt,
        placeholders: this.placeholders,
        instruction: this.settings.instruction,
        separator: this.settings.separator,
        suffix: this.settings.suffix,
        instructionEnd: this.settings.instructionEnd,
        emptyText: this.settings.emptyText,
        chatTemplate: this.chatTemplate
      },
      label
    )
    const { text, ids } = await this.tokenize(this.written(prompt.text, item), prompt.imageOrder)
    this.checkIds(ids, item, label)
    const place = (index: number): VisualPlace => ({ imageRoot, where: label, augment, index })

    const ordered = this.inPromptOrder(ids, item, prompt.imageOrder)
    const encoded = await Promise.all(ordered.map((visual, index) => readVisual(visual, place(index))))
    await this.reserve(encoded, itemPlace)
    const sized = await Promise.all(encoded.map((visual, index) => sizeVisual(visual, this, place(index))))
    const { tokens, runs } = this.expand(ids, sized, label)
    const visuals = await Promise.all(
      sized.map((each) => patchesOf(each, this.config.vision!, this.settings, keepResized))
    )
    const key = contentKey(text, encoded)
    return {
      prompt: text,
      tokens,
      positions: this.rules.positions(tokens, runs, this.settings.positions),
      visuals,
      contentKey: key,
      inputKey: inputKey(key, item, augment)
    }
  }

  /** Text and pictures for a tower each. */
  private async prepareApart(dual: DualTokens, item: Item, place: ItemPlace): Promise<PreparedItem> {
    const { imageRoot, label, keepResized = false, augment } = place
    const { text, pictures } = dualItem(item, this.settings.instruction, label)
    const ids = text === '' ? new Int32Array(0) : await dual.encode(text, label)
    const tokens = new Int32Array(ids.length + pictures.length).fill(this.config.tokens.image)
    tokens.set(ids)
    const at = (index: number): VisualPlace => ({ imageRoot, where: label, augment, index })
    const encoded = await Promise.all(pictures.map((picture, index) => readVisual(picture, at(index))))
    await this.reserve(encoded, place)
    const sized = await Promise.all(encoded.map((visual, index) => sizeVisual(visual, this, at(index))))
    const key = contentKey(text, encoded)
    return {
      prompt: text,
      tokens,
      positions: this.rules.positions(tokens, [], this.settings.positions),
      rows: ids.length + sized.reduce((sum, { grid }) => sum + grid[1] * grid[2], 0),
      visuals: await Promise.all(sized.map((each) => patchesOf(each, this.config.vision!, this.settings, keepResized))),
      contentKey: key,
      inputKey: inputKey(key, item, augment)
    }
  }

  private async reserve(encoded: EncodedVisual[], { slot }: ItemPlace): Promise<void> {
    if (!slot || encoded.length === 0) return
    const bytes = await Promise.all(encoded.map((visual) => bytesOf(visual, this, this.config.vision!)))
    await slot.reserve(bytes.reduce((sum, each) => sum + each, 0))
  }

  private written(prompt: string, { videos = [] }: Item): string {
    const facts = videos.map(({ frames, fps }) => ({ frames: frames.length, fps: fps ?? DEFAULT_FPS }))
    return (this.placeholders && this.rules.writePrompt?.(prompt, facts, this.placeholders)) ?? prompt
  }

  private async tokenize(prompt: string, order: readonly number[]): Promise<{ text: string; ids: Int32Array }> {
    // As transformers fills templates: its tokenizers add nothing, its processors only what the template doesn't begin with.
    const bare = this.chatTemplate && (!takesPictures(this.config) || this.chatTemplate.hasBeginning(prompt))
    const encode = (text: string): Promise<Int32Array> => this.tokenizer.encode(text, { bare: bare ?? false })
    return (await this.rules.tokenize?.(prompt, order, encode)) ?? { text: prompt, ids: await encode(prompt) }
  }

  /** What a placeholder stands for; undefined: the id is no placeholder. */
  private kindOf(id: number): 'image' | 'video' | undefined {
    const { image, video } = this.config.tokens
    return id < 0 || id === image ? 'image' : id === video ? 'video' : undefined
  }

  /** How many placeholders of the prompt stand for a video. */
  private videoParts({ frames }: Video): number {
    const times = Math.ceil(frames.length / this.config.vision!.temporalPatchSize)
    return this.rules.parts('video', [times, 1, 1]).length
  }

  /** Pictures and videos in order of their placeholders. */
  private inPromptOrder(
    ids: Int32Array,
    { images = [], videos = [] }: Item,
    imageOrder: readonly number[]
  ): (NonNullable<Item['images']>[number] | NonNullable<Item['videos']>[number])[] {
    let image = 0
    let video = 0
    let parts = 0
    const visuals = []
    for (const id of ids) {
      const kind = this.kindOf(id)
      if (kind === 'image') visuals.push(images[imageOrder[image++]!]!)
      else if (kind === 'video' && --parts <= 0) {
        parts = this.videoParts(videos[video]!)
        visuals.push(videos[video++]!)
      }
    }
    return visuals
  }

  /** Each placeholder becomes as many as its picture has merged patches. */
  private expand(
    ids: Int32Array,
    visuals: readonly SizedVisual[],
    label: string
  ): { tokens: Int32Array; runs: VisualRun[] } {
    const parts = visuals.flatMap(({ kind, grid, fps, featureRows }) =>
      this.rules.parts(kind, grid).map((part) => ({ kind, fps, grid: part, featureRows }))
    )
    const counts = parts.map(({ grid, featureRows }) => featureRows?.length ?? this.rules.tokenCount(grid))
    const length = ids.length + counts.reduce((sum, count) => sum + count - 1, 0)
    if (length === 0)
      throw new Vlm2VecError('E_DATA', `${label}: the prompt has no tokens. Give the item a text or a picture.`)
    if (length > this.settings.maxLength) {
      const pictures =
        visuals.length > 0 ? `, ${counts.reduce((sum, count) => sum + count, 0)} of them of pictures` : ''
      throw new Vlm2VecError(
        'E_DATA',
        `${label}: the item is ${length} tokens long${pictures}; at most ${this.settings.maxLength} are allowed. ` +
          'Shorten it, lower --max-pixels, or raise --max-length.'
      )
    }
    const tokens = new Int32Array(length)
    const runs: VisualRun[] = []
    let end = 0
    for (const id of ids) {
      const visual = this.kindOf(id) ? runs.length : -1
      const count = visual < 0 ? 1 : counts[visual]!
      if (visual >= 0) runs.push({ start: end, ...parts[visual]! })
      tokens.fill(id, end, end + count)
      end += count
    }
    return { tokens, runs }
  }

  private checkIds(ids: Int32Array, { images = [], videos = [] }: Item, label: string): void {
    const { image, video } = this.config.tokens
    const found = { images: 0, videos: 0 }
    this.tokenizer.requireWithin(ids, this.config.text.vocabSize)
    for (const id of ids) {
      const kind = this.kindOf(id)
      if (kind === 'image') found.images++
      else if (kind === 'video') found.videos++
    }
    const parts = videos.reduce((sum, each) => sum + this.videoParts(each), 0)
    if (found.images !== images.length || found.videos !== parts)
      throw new Vlm2VecError(
        'E_MODEL',
        `${label}: ${images.length} images and ${videos.length} videos became ${found.images} and ${found.videos} ` +
          `placeholder tokens: in ${this.tokenizer.file}, ${this.placeholders?.image} and ${this.placeholders?.video} must be ` +
          `added tokens with the ids ${image} and ${video} of config.json.`
      )
  }
}
