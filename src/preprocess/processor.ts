/** Items to model inputs: the prompt, its tokens with placeholders expanded, their positions, and resized pictures. */
import { Vlm2VecError } from '../errors.js'
import type { ImageSource, Item, Video } from '../data/item.js'
import { readModelConfig, takesPictures, type ModelConfig } from '../model/config.js'
import type { Augmentation } from './augment.js'
import type { Slot } from './byte-budget.js'
import { ChatTemplate } from './chat-template.js'
import { DualTokens, dualItem } from './dual.js'
import { contentKey, inputKey } from './keys.js'
import { checkKinds, placeholdersOf } from './kinds.js'
import { PictureCache } from './picture-cache.js'
import { pixelBytes } from './pictures.js'
import { checkPlaceholders, expandPlaceholders, inPromptOrder } from './placeholder-tokens.js'
import type { PreparedItem } from './prepared.js'
import { assemblePrompt, type Placeholders } from './prompt.js'
import { inputRules, type InputRules, type VisualRun } from './rules.js'
import { resolveSettings, type ProcessorOptions, type ProcessorSettings } from './settings.js'
import { Tokenizer } from './tokenizer.js'
import {
  bytesOf,
  DEFAULT_FPS,
  preparationOf,
  prepareVisual,
  readVisual,
  sizeVisual,
  type EncodedVisual,
  type Preparation,
  type SizedVisual,
  type VisualPlace
} from './visuals.js'

export interface ItemPlace {
  /** folder that relative paths of pictures start from */
  imageRoot: string
  /** for messages: 'items.jsonl: record 3' */
  label: string
  augment?: Augmentation | undefined
  /** asked for the bytes that the pictures take, before they are decoded; afterwards it holds what they take prepared */
  slot?: Slot | undefined
}

/** An item whose pictures have sizes, but are not resized yet. */
interface Unfinished {
  text: string
  tokens: Int32Array
  runs: readonly VisualRun[]
  encoded: EncodedVisual[]
  sized: SizedVisual[]
}

export class Processor {
  /** undefined: the model takes text only */
  private readonly preparation: Preparation | undefined

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
  ) {
    this.preparation = config.vision && preparationOf(config.vision, settings)
  }

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
      place.slot?.keep(pixelBytes(prepared))
      return prepared
    } catch (error) {
      place.slot?.keep(0)
      throw error
    }
  }

  private async prepareInside(item: Item, place: ItemPlace): Promise<PreparedItem> {
    const { label } = place
    checkKinds(item, this.config, label)
    if (this.dual) return this.prepareApart(this.dual, item, place)
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
    this.tokenizer.requireWithin(ids, this.config.text.vocabSize)
    checkPlaceholders(ids, item, this, label)
    const { encoded, sized } = await this.sizeVisuals(inPromptOrder(ids, item, prompt.imageOrder, this), place)
    const { tokens, runs } = expandPlaceholders(ids, sized, this, label)
    return this.finish(item, place, { text, tokens, runs, encoded, sized })
  }

  /** Text and pictures for a tower each. */
  private async prepareApart(dual: DualTokens, item: Item, place: ItemPlace): Promise<PreparedItem> {
    const { text, pictures } = dualItem(item, this.settings.instruction, place.label)
    const ids = text === '' ? new Int32Array(0) : await dual.encode(text, place.label)
    const tokens = new Int32Array(ids.length + pictures.length).fill(this.config.tokens.image)
    tokens.set(ids)
    const { encoded, sized } = await this.sizeVisuals(pictures, place)
    const rows = ids.length + sized.reduce((sum, { grid }) => sum + grid[1] * grid[2], 0)
    return { ...(await this.finish(item, place, { text, tokens, runs: [], encoded, sized })), rows }
  }

  private async sizeVisuals(
    visuals: readonly (ImageSource | Video)[],
    place: ItemPlace
  ): Promise<{ encoded: EncodedVisual[]; sized: SizedVisual[] }> {
    const { imageRoot, label, augment } = place
    const at = (index: number): VisualPlace => ({ imageRoot, where: label, augment, index })
    const encoded = await Promise.all(visuals.map((visual, index) => readVisual(visual, at(index))))
    await this.reserve(encoded, place)
    return { encoded, sized: await Promise.all(encoded.map((visual, index) => sizeVisual(visual, this, at(index)))) }
  }

  private async finish(
    item: Item,
    { augment }: ItemPlace,
    { text, tokens, runs, encoded, sized }: Unfinished
  ): Promise<PreparedItem> {
    const key = contentKey(text, encoded)
    return {
      prompt: text,
      tokens,
      positions: this.rules.positions(tokens, runs, this.settings.positions),
      visuals: await Promise.all(sized.map((each) => prepareVisual(each, this.preparation!))),
      contentKey: key,
      inputKey: inputKey(key, item, augment)
    }
  }

  private async reserve(encoded: EncodedVisual[], { slot }: ItemPlace): Promise<void> {
    if (!slot || encoded.length === 0) return
    const bytes = await Promise.all(encoded.map((visual) => bytesOf(visual, this)))
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
}
