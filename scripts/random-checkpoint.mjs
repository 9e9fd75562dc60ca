/**
 * Writes a checkpoint of random bf16 weights with the tensors of a real one, to measure loading and memory at real sizes:
 *
 *   node scripts/random-checkpoint.mjs TENSORS.tsv MODEL_FILES OUTPUT [--shard-gb 5]
 *
 * TENSORS.tsv has a line a tensor: name, tab, sizes joined by x. MODEL_FILES is a directory whose other files (config.json,
 * tokenizer, processor) are copied. Norms are one, biases zero, everything else has the usual deviation of 0.02. Nothing is
 * held in memory but a few MiB.
 */
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync
} from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { 'shard-gb': { type: 'string', default: '5' } }
})
const [table, files, output] = positionals
if (!output) throw new Error('usage: node scripts/random-checkpoint.mjs TENSORS.tsv MODEL_FILES OUTPUT [--shard-gb N]')

const tensors = readFileSync(table, 'utf8')
  .split('\n')
  .filter((line) => line.includes('\t'))
  .map((line) => {
    const [name, sizes] = line.split('\t')
    const shape = sizes.trim().split('x').map(Number)
    return { name, shape, bytes: 2 * shape.reduce((product, size) => product * size, 1) }
  })

/** bf16 by cutting off the lower half of an f32. */
function bf16(count, valueOf) {
  const wide = Float32Array.from({ length: count }, valueOf)
  return Uint16Array.from(new Uint32Array(wide.buffer), (bits) => bits >>> 16)
}

// xorshift; the sum of twelve uniform numbers less six is nearly normal

let small = 2463534242
const uniform = () => {
  small ^= small << 13
  small ^= small >>> 17
  small ^= small << 5
  return (small >>> 0) / 2 ** 32
}
const normal = () => Array.from({ length: 12 }, uniform).reduce((sum, each) => sum + each, -6)

const RING = 1 << 20
const ring = bf16(RING, () => 0.02 * normal())
const twice = new Uint16Array(2 * RING)
twice.set(ring)
twice.set(ring, RING)
const ones = bf16(RING, () => 1)
const zeros = bf16(RING, () => 0)

function* chunksOf({ name, shape, bytes }) {
  const vector = shape.length === 1
  const source = vector && /norm|ln_q/.test(name) && name.endsWith('.weight') ? ones : vector ? zeros : undefined
  for (let left = bytes / 2; left > 0; left -= RING) {
    const count = Math.min(left, RING)
    const first = source ? 0 : Math.floor(uniform() * RING)
    yield (source ?? twice).subarray(first, first + count)
  }
}

function writeShard(path, shard) {
  let at = 0
  const header = { __metadata__: { format: 'pt' } }
  for (const { name, shape, bytes } of shard) header[name] = { dtype: 'BF16', shape, data_offsets: [at, (at += bytes)] }
  let text = JSON.stringify(header)
  text += ' '.repeat((8 - (text.length % 8)) % 8)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  const file = openSync(path, 'w')
  writeSync(file, Buffer.concat([length, Buffer.from(text)]))
  for (const tensor of shard)
    for (const chunk of chunksOf(tensor)) {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
      for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done)
    }
  closeSync(file)
}

const limit = Number(values['shard-gb']) * 1e9
const shards = [[]]
let filled = 0
for (const tensor of tensors) {
  if (filled > 0 && filled + tensor.bytes > limit) {
    shards.push([])
    filled = 0
  }
  shards.at(-1).push(tensor)
  filled += tensor.bytes
}

mkdirSync(output, { recursive: true })
for (const name of readdirSync(files))
  if (!/\.(safetensors|bin)(\.index\.json)?$/.test(name)) copyFileSync(join(files, name), join(output, name))
const nameOf = (i) =>
  shards.length === 1
    ? 'model.safetensors'
    : `model-${String(i + 1).padStart(5, '0')}-of-${String(shards.length).padStart(5, '0')}.safetensors`
shards.forEach((shard, i) => writeShard(join(output, nameOf(i)), shard))
if (shards.length > 1) {
  const weight_map = Object.fromEntries(shards.flatMap((shard, i) => shard.map(({ name }) => [name, nameOf(i)])))
  const metadata = { total_size: tensors.reduce((sum, { bytes }) => sum + bytes, 0) }
  writeFileSync(join(output, 'model.safetensors.index.json'), JSON.stringify({ metadata, weight_map }))
}
