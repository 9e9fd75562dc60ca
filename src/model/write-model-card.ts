/** README.md of a written model: metadata for the hub, what it is, and how it is used from Node and Python. */
import { basename, join } from 'node:path'
import { stringify } from 'yaml'
import { writeWhole } from '../atomic.js'
import { parseHubId } from '../hub-id.js'
import type { Processor } from '../preprocess/processor.js'
import { takesPictures } from './config.js'

export interface CardFacts {
  /** an adapter is a PEFT directory; sentence-transformers loads a model */
  kind: 'model' | 'adapter'
  /** as it was given: a path or hub id */
  base: string
  dimension: number
  sentenceTransformers: boolean
  /** sentences on how it came about */
  made: string[]
}

export async function writeModelCard(directory: string, processor: Processor, facts: CardFacts): Promise<void> {
  const { kind, base, sentenceTransformers } = facts
  const metadata = {
    // the hub takes only names of its own
    ...(parseHubId(base) && { base_model: base, base_model_relation: kind === 'adapter' ? 'adapter' : 'finetune' }),
    library_name: kind === 'adapter' ? 'peft' : sentenceTransformers ? 'sentence-transformers' : 'transformers',
    pipeline_tag: 'feature-extraction',
    tags: [
      ...(sentenceTransformers ? ['sentence-transformers'] : []),
      ...(takesPictures(processor.config) ? ['multimodal-embedding'] : []),
      'vlm2vec-native'
    ]
  }
  await writeWhole(join(directory, 'README.md'), `---\n${stringify(metadata)}---\n\n${bodyOf(processor, facts)}`)
}

function bodyOf(
  { settings, config }: Processor,
  { kind, base, dimension, sentenceTransformers, made }: CardFacts
): string {
  const name = parseHubId(base) ? base : basename(base)
  const pictured = takesPictures(config)
  const python = sentenceTransformers
    ? [
        `With sentence-transformers 6${takesPictures(config) ? ' (pictures need the extra `image`)' : ''}:`,
        '',
        '```python',
        'from sentence_transformers import SentenceTransformer',
        "model = SentenceTransformer('path-or-name-of-this-model')",
        "vectors = model.encode(['a red circle'])",
        '```',
        ''
      ]
    : []
  const rows: [string, string][] = [
    ['base', name],
    ['family', config.family],
    ['dimension', String(dimension)],
    ['pooling', `${settings.pooling}${settings.normalize ? ', vectors of length 1' : ''}`],
    ['prompt', settings.prompt],
    ...(pictured
      ? ([
          ['positions of pictures', settings.positions],
          ['pixels of a picture', `${settings.image.minPixels} to ${settings.image.maxPixels}`]
        ] as [string, string][])
      : []),
    ...(settings.instruction === undefined
      ? []
      : [['instruction', JSON.stringify(settings.instruction)] as [string, string]])
  ]
  return [
    `# ${kind === 'adapter' ? 'Embedding adapter for' : 'Embedding model from'} ${name}`,
    '',
    `${pictured ? 'Any mix of text, pictures and video frames' : 'A text'} becomes one vector. Written by vlm2vec-native.`,
    '',
    ...made,
    ...(made.length > 0 ? [''] : []),
    '| | |',
    '|---|---|',
    ...rows.map(([key, value]) => `| ${key} | ${value} |`),
    '',
    '`vlm2vec.json` holds the same for programs.',
    '',
    '## Use',
    '',
    '```js',
    "import { Embedder } from 'vlm2vec-native'",
    "const embedder = await Embedder.load('path-or-name-of-this-model')",
    `const { data } = await embedder.embed([{ text: 'a red circle' }${pictured ? ", { images: ['circle.png'] }" : ''}])`,
    '```',
    '',
    ...python
  ].join('\n')
}
