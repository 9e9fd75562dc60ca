/**
 * ONNX Runtime's candidates, on the graphs of onnx_export.py: its own package (onnxruntime-node), pictures included, and
 * transformers.js, text alone. Batches of items of like length, so that little is padded.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { candidate } from './candidate.mjs'
import { readInputs } from './inputs.mjs'

const BATCH_TOKENS = 4096
const PICTURES = 16 // a batch of one size

await candidate(async ({ folder, dtype, variant, threads }) => {
  const items = readInputs(folder, { patches: true })
  const options = { intraOpNumThreads: Number(threads), interOpNumThreads: 1, graphOptimizationLevel: 'all' }
  const encoder = await (variant === 'transformers.js' ? openTransformers : openRuntime)(folder, dtype, options)
  const batches = batchesOf(items)
  const run = async () => {
    const rows = []
    for (const batch of batches) {
      const longest = Math.max(...batch.map((i) => items[i].tokens.length))
      const hidden = await encoder.hidden(
        batch.map((i) => items[i]),
        longest
      )
      const width = hidden.length / batch.length / longest
      batch.forEach((item, row) => {
        const at = (row * longest + items[item].tokens.length - 1) * width
        rows[item] = normalized(hidden.subarray(at, at + width))
      })
    }
    return Float32Array.from(rows.flatMap((row) => [...row]))
  }
  return { run, versions: encoder.versions }
})

async function openRuntime(folder, dtype, options) {
  const { default: runtime } = await import('onnxruntime-node')
  const { Tensor, InferenceSession } = runtime
  const open = (name) =>
    InferenceSession.create(join(folder, `onnx/${name}${dtype === 'int8' ? '_q8' : ''}.onnx`), options)
  const width = JSON.parse(readFileSync(join(folder, 'model/config.json'), 'utf8')).hidden_size
  const [text, vision] = [await open('text'), await open('vision')]
  // of pictures of one size
  const features = async (visuals) => {
    const [, rows, columns] = visuals[0].grid
    const patches = Buffer.concat(
      visuals.map(({ patches }) => new Uint8Array(patches.buffer, patches.byteOffset, patches.byteLength))
    )
    const values = visuals[0].patches.length / (rows * columns)
    const feeds = {
      patches: new Tensor('float32', new Float32Array(patches.buffer, patches.byteOffset, patches.length / 4), [
        visuals.length,
        rows * columns,
        values
      ]),
      positions: new Tensor('int64', patchPositions(rows, columns), [rows * columns, 2])
    }
    return (await vision.run(feeds)).features.data
  }
  return {
    versions: `onnxruntime-node ${runtime.env.versions.node}`,
    async hidden(items, longest) {
      const { ids, mask } = padded(items, longest)
      const positions = new BigInt64Array(3 * items.length * longest)
      const places = []
      items.forEach(({ tokens, positions: own, visuals }, row) => {
        for (let axis = 0; axis < 3; axis++)
          for (let i = 0; i < tokens.length; i++)
            positions[(axis * items.length + row) * longest + i] = BigInt(own[axis * tokens.length + i])
        // inputs.mjs puts the picture first
        const replaced = visuals.reduce((sum, { grid }) => sum + (grid[1] * grid[2]) / 4, 0)
        for (let i = 0; i < replaced; i++) places.push(BigInt(row * longest + i))
      })
      const pictures = items.flatMap(({ visuals }) => visuals)
      const parts = []
      for (let i = 0; i < pictures.length; i += PICTURES) parts.push(await features(pictures.slice(i, i + PICTURES)))
      const replacing = new Float32Array(places.length * width)
      let at = 0
      for (const part of parts) {
        replacing.set(part, at)
        at += part.length
      }
      const shape = [items.length, longest]
      const out = await text.run({
        input_ids: new Tensor('int64', ids, shape),
        attention_mask: new Tensor('int64', mask, shape),
        position_ids: new Tensor('int64', positions, [3, ...shape]),
        places: new Tensor('int64', BigInt64Array.from(places), [places.length]),
        features: new Tensor('float32', replacing, [places.length, width])
      })
      return out.last_hidden_state.data
    }
  }
}

async function openTransformers(folder, dtype, options) {
  const { AutoModel, Tensor, env } = await import('@huggingface/transformers')
  env.allowRemoteModels = false
  env.localModelPath = folder
  const model = await AutoModel.from_pretrained('transformers.js', {
    dtype: dtype === 'int8' ? 'q8' : 'fp32',
    device: 'cpu',
    session_options: options
  })
  return {
    versions: `transformers.js ${env.version}`,
    async hidden(items, longest) {
      if (items.some(({ visuals }) => visuals.length > 0)) throw new Error('its graph takes text alone (--pictures 0)')
      const { ids, mask } = padded(items, longest)
      const shape = [items.length, longest]
      const out = await model({
        input_ids: new Tensor('int64', ids, shape),
        attention_mask: new Tensor('int64', mask, shape)
      })
      return out.last_hidden_state.data
    }
  }
}

/** Row and column of each patch in the order of Qwen2-VL: the four of a token follow each other. */
function patchPositions(rows, columns) {
  const positions = []
  for (let row = 0; row < rows; row += 2)
    for (let column = 0; column < columns; column += 2)
      for (const [down, right] of [
        [0, 0],
        [0, 1],
        [1, 0],
        [1, 1]
      ])
        positions.push(BigInt(row + down), BigInt(column + right))
  return BigInt64Array.from(positions)
}

function padded(items, longest) {
  const ids = new BigInt64Array(items.length * longest)
  const mask = new BigInt64Array(items.length * longest)
  items.forEach(({ tokens }, row) => {
    for (let i = 0; i < tokens.length; i++) ids[row * longest + i] = BigInt(tokens[i])
    mask.fill(1n, row * longest, row * longest + tokens.length)
  })
  return { ids, mask }
}

function batchesOf(items) {
  const order = items.map((_, i) => i).sort((a, b) => items[a].tokens.length - items[b].tokens.length)
  const batches = [[]]
  for (const i of order) {
    if (batches.at(-1).length > 0 && items[i].tokens.length * (batches.at(-1).length + 1) > BATCH_TOKENS)
      batches.push([])
    batches.at(-1).push(i)
  }
  return batches
}

function normalized(row) {
  const norm = Math.hypot(...row)
  return row.map((value) => value / norm)
}
