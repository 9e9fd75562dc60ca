/**
 * Compares our token ids with Python's on difficult strings. A development tool: it needs Python with transformers, and
 * `npm run build` before.
 *
 *   node scripts/compare-tokenizers.mjs DIRECTORY [--count 5000] [--seed 1] [--python python3]
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { randomBits } from '../dist/data/random.js'
import { Tokenizer } from '../dist/preprocess/tokenizer.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string', default: '5000' },
    seed: { type: 'string', default: '1' },
    python: { type: 'string', default: 'python3' }
  }
})
const [directory] = positionals
if (!directory)
  throw new Error('Usage: node scripts/compare-tokenizers.mjs DIRECTORY [--count N] [--seed N] [--python PATH]')

const REFERENCE = `
import json, os, sys
directory, strings, ids = sys.argv[1:]
if os.path.exists(os.path.join(directory, "tokenizer.json")):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))
    tokenizer.no_truncation(); tokenizer.no_padding()
    encode = lambda text: tokenizer.encode(text).ids
elif os.path.exists(os.path.join(directory, "tokenizer.model")):
    # SentencePiece itself, text between added tokens by text; a beginning as transformers' LlamaTokenizer adds it
    import re
    from sentencepiece import SentencePieceProcessor
    model = SentencePieceProcessor(os.path.join(directory, "tokenizer.model"))
    config = json.load(open(os.path.join(directory, "tokenizer_config.json")))
    added = {token["content"]: int(id) for id, token in config["added_tokens_decoder"].items()}
    parts = re.compile("(" + "|".join(map(re.escape, added)) + ")")
    def encode(text):
        ids = [model.bos_id()] if config.get("add_bos_token", True) else []
        for part in parts.split(text):
            ids += [added[part]] if part in added else model.encode(part) if part else []
        return ids
else:
    from transformers import Qwen2Tokenizer
    tokenizer = Qwen2Tokenizer.from_pretrained(directory).backend_tokenizer
    encode = lambda text: tokenizer.encode(text).ids
texts = json.load(open(strings, encoding="utf-8"))
json.dump([encode(text) for text in texts], open(ids, "w"))
`

/** Ranges of code points: scripts, marks, white space of all kinds, controls, symbols, private use, unassigned. */
const RANGES = [
  ...[
    [0x20, 0x7e],
    [0x20, 0x7e],
    [0x61, 0x7a],
    [0x30, 0x39],
    [0, 0x1f],
    [0x7f, 0xa0],
    [0xa1, 0x17f],
    [0x180, 0x24f]
  ],
  ...[
    [0x300, 0x36f],
    [0x370, 0x3ff],
    [0x400, 0x4ff],
    [0x530, 0x5ff],
    [0x600, 0x6ff],
    [0x900, 0x97f],
    [0xe00, 0xe7f]
  ],
  ...[
    [0x1100, 0x11ff],
    [0x1e00, 0x1eff],
    [0x2000, 0x206f],
    [0x2070, 0x209f],
    [0x2150, 0x218f],
    [0x2190, 0x23ff]
  ],
  ...[
    [0x2e80, 0x2fdf],
    [0x3000, 0x30ff],
    [0x3130, 0x318f],
    [0x4e00, 0x9fff],
    [0xac00, 0xd7af],
    [0xe000, 0xe0ff]
  ],
  ...[
    [0xf900, 0xfaff],
    [0xfb00, 0xfb4f],
    [0xfe00, 0xfe0f],
    [0xff00, 0xffef],
    [0x10330, 0x1034f],
    [0x1d400, 0x1d7ff]
  ],
  ...[
    [0x1f1e6, 0x1f1ff],
    [0x1f300, 0x1f6ff],
    [0x1f900, 0x1f9ff],
    [0x20000, 0x200ff],
    [0x2f800, 0x2fa1f],
    [0xe0100, 0xe01ef]
  ],
  ...[
    [0x378, 0x379],
    [0x10fff0, 0x10ffff],
    [0xfeff, 0xfeff],
    [0x85, 0x85],
    [0x2028, 0x2029],
    [0x1e9e, 0x1e9e]
  ]
]
const PIECES = [
  ...[
    "'s",
    "'T",
    "'re",
    "'VE",
    "I'm",
    "we'LL",
    "'d",
    '\u2019s',
    "'\u017f",
    '  ',
    '   ',
    '\n\n',
    '\r\n',
    ' \n ',
    '\t',
    '\r',
    ' \t\n'
  ],
  ...[
    '<|image_pad|>',
    '<|video_pad|>',
    '<|im_start|>',
    '<|im_end|>',
    '<|endoftext|>',
    '<|vision_start|>',
    '<|image_1|>'
  ],
  ...[
    '<|image_pad|',
    '|>',
    '<|',
    '<|IMAGE_PAD|>',
    ' <|image_pad|> ',
    'cafe\u0301',
    '\u1100\u1161\u11a8',
    '\u212b',
    '\ufb01'
  ],
  ...[
    '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}',
    '\u{1f1e9}\u{1f1ea}',
    '12345',
    '3.14',
    '1,000',
    '\u0661\u0662',
    '\u2167',
    '\u00bd'
  ],
  ...[
    'the',
    ' The',
    'hello',
    ' world',
    '...',
    '!?',
    ' -- ',
    '___',
    '\\n',
    '{"a": 1}',
    'https://x.y/z?q=1',
    'def f(x):\n    return x'
  ],
  ...[
    '\u3000',
    '\u00a0',
    '\u2003 ',
    '\u200b',
    '\u0085',
    '\ufeff',
    '\u2028',
    '\u0000',
    'a\u0323\u0307',
    'q\u0307\u0323',
    '\u0e01\u0e33'
  ]
]

/** Added tokens of the directory, with space of all kinds around them: some swallow it. */
function addedTokens() {
  const read = (name) =>
    existsSync(join(directory, name)) ? JSON.parse(readFileSync(join(directory, name), 'utf8')) : {}
  const tokens = [
    ...(read('tokenizer.json').added_tokens ?? []),
    ...Object.values(read('tokenizer_config.json').added_tokens_decoder ?? {})
  ]
  const texts = [...new Set(tokens.map(({ content }) => content))]
  return texts.flatMap((text) => [text, `${text} `, ` ${text}\n`, `${text} \t\u00a0\u3000x`, text.slice(0, -1)])
}
PIECES.push(...addedTokens())

const seed = BigInt(values.seed)
let counter = 0n
const below = (limit) => Number(randomBits(seed, 0n, counter++) % BigInt(limit))

function character() {
  const [first, last] = RANGES[below(RANGES.length)]
  return String.fromCodePoint(first + below(last - first + 1))
}

function difficultString() {
  const parts = 1 + below(24)
  let text = ''
  for (let part = 0; part < parts; part++) {
    const kind = below(4)
    if (kind === 0) text += PIECES[below(PIECES.length)]
    else if (kind === 1) text += character().repeat(1 + below(5))
    else text += character()
  }
  return text
}

const strings = ['', ' ', ...PIECES, ...Array.from({ length: Number(values.count) }, difficultString)]
const folder = mkdtempSync(join(tmpdir(), 'tokenizers-'))
try {
  const paths = [join(folder, 'strings.json'), join(folder, 'ids.json')]
  writeFileSync(paths[0], JSON.stringify(strings))
  const { status } = spawnSync(values.python, ['-c', REFERENCE, directory, ...paths], { stdio: 'inherit' })
  if (status !== 0) throw new Error(`${values.python} failed; it needs the packages tokenizers and transformers`)
  const expected = JSON.parse(readFileSync(paths[1], 'utf8'))
  const tokenizer = await Tokenizer.load(directory)
  let different = 0
  for (const [index, text] of strings.entries()) {
    const ids = [...(await tokenizer.encode(text))]
    if (JSON.stringify(ids) === JSON.stringify(expected[index])) continue
    if (different++ < 10) console.log(JSON.stringify(text), 'ours', ids, 'expected', expected[index])
  }
  console.log(`${strings.length} strings, ${different} differ`)
  if (different > 0) process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true })
}
