/** Files of vectors: .npy (rows in order), .jsonl ({"id", "embedding"}), .parquet (columns id and embedding). */
import { extname } from 'node:path'
import { writeWholePiecewise, type Pieces } from '../atomic.js'
import { Vlm2VecError } from '../errors.js'

export interface VectorSink {
  /** `vector` of undefined: this item has none. It leaves a row of NaN in .npy, where places count, and nothing elsewhere. */
  add(id: string, vector: Float32Array | undefined): Promise<void>
}

interface Format {
  begin(pieces: Pieces, dimension: number): VectorSink & { end(): Promise<void> }
}

const FORMATS: Record<string, Format> = {
  '.npy': { begin: npy },
  '.jsonl': { begin: jsonl },
  '.parquet': { begin: parquet }
}

/** E_OPTION where the ending of the name is none of these. */
export function checkVectorPath(path: string): void {
  if (!(extname(path) in FORMATS))
    throw new Vlm2VecError(
      'E_OPTION',
      `${path}: the name of a file of vectors ends in ${Object.keys(FORMATS).join(', ')}.`
    )
}

/** Writes the vectors that `fill` adds; the file is there in whole or not at all. */
export async function writeVectors(
  path: string,
  dimension: number,
  fill: (sink: VectorSink) => Promise<void>
): Promise<void> {
  checkVectorPath(path)
  await writeWholePiecewise(path, async (pieces) => {
    const sink = FORMATS[extname(path)]!.begin(pieces, dimension)
    await fill(sink)
    await sink.end()
  })
}

/** A line of .jsonl. Nine digits are enough to get the same float32 back. */
export function vectorLine(id: string, vector: Float32Array): string {
  return JSON.stringify({ id, embedding: Array.from(vector, (value) => Number(value.toPrecision(9))) })
}

// ---- .npy: a header of fixed length, then float32 rows ---------------------------------------------------------------

const NPY_HEADER_BYTES = 128

/** NumPy format 1.0: magic, version, length of the description, description padded with spaces to the end of the header. */
export function npyHeader(rows: number, dimension: number): Uint8Array {
  const description = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows}, ${dimension}), }`
  const header = Buffer.alloc(NPY_HEADER_BYTES, ' ')
  header.write('\x93NUMPY\x01\x00', 0, 'latin1')
  header.writeUInt16LE(NPY_HEADER_BYTES - 10, 8)
  header.write(description, 10, 'latin1')
  header.write('\n', NPY_HEADER_BYTES - 1, 'latin1')
  return header
}

function npy(pieces: Pieces, dimension: number): ReturnType<Format['begin']> {
  const missing = new Float32Array(dimension).fill(NaN)
  let rows = 0
  return {
    add: async (_id, vector = missing) => {
      if (rows++ === 0) await pieces.append(npyHeader(0, dimension))
      await pieces.append(new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength))
    },
    end: () => (rows === 0 ? pieces.append(npyHeader(0, dimension)) : pieces.overwrite(npyHeader(rows, dimension), 0))
  }
}

function jsonl(pieces: Pieces): ReturnType<Format['begin']> {
  return {
    add: async (id, vector) => {
      if (vector) await pieces.append(`${vectorLine(id, vector)}\n`)
    },
    end: async () => {}
  }
}

// ---- .parquet --------------------------------------------------------------------------------------------------------

const ROW_GROUP = 4096

const PARQUET_SCHEMA = [
  { name: 'root', num_children: 2 },
  { name: 'id', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'REQUIRED' },
  { name: 'embedding', repetition_type: 'REQUIRED', num_children: 1, converted_type: 'LIST' },
  { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
  { name: 'element', type: 'FLOAT', repetition_type: 'REQUIRED' }
] as const

function parquet(pieces: Pieces): ReturnType<Format['begin']> {
  let ids: string[] = []
  let rows: number[][] = []
  const opened = openParquet(pieces)
  const flush = async (): Promise<void> => {
    const { writer } = await opened
    const columnData = [
      { name: 'id', data: ids },
      { name: 'embedding', data: rows, encoding: 'PLAIN' as const, codec: 'UNCOMPRESSED' as const }
    ]
    if (ids.length > 0) await writer.write({ columnData, rowGroupSize: ids.length })
    ids = []
    rows = []
  }
  return {
    add: async (id, vector) => {
      if (!vector) return
      ids.push(id)
      rows.push([...vector])
      if (ids.length === ROW_GROUP) await flush()
    },
    end: async () => {
      await flush()
      const { writer, drain } = await opened
      await writer.finish()
      await drain()
    }
  }
}

async function openParquet(pieces: Pieces) {
  const { ByteWriter, ParquetWriter } = await import('hyparquet-writer')
  const bytes = new ByteWriter()
  const drain = async (): Promise<void> => {
    const piece = bytes.getBytes().slice()
    bytes.index = 0
    await pieces.append(piece)
  }
  const writer = new ParquetWriter({
    writer: Object.assign(bytes, { flush: drain }),
    schema: [...PARQUET_SCHEMA],
    statistics: false,
    createdBy: 'vlm2vec-native'
  })
  return { writer, drain }
}
