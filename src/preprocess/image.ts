/**
 * Encoded pictures to RGB, as Pillow's `Image.open(...).convert('RGB')` gives it: alpha dropped and not blended, EXIF
 * orientation and colour profiles ignored, the first frame of an animation, CMYK by Pillow's plain formula.
 */
import { readFile } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp, { type Metadata } from 'sharp'
import { Vlm2VecError } from '../errors.js'
import type { ImageSource } from '../data/item.js'
import type { RgbImage } from '../native.js'
import { decodeGif } from './gif.js'

/** Pixels of a picture before resizing, at most: memory for three bytes each is needed. */
export const DEFAULT_PIXEL_LIMIT = 256_000_000

const FORMATS = new Set(['jpeg', 'png', 'webp', 'gif', 'tiff', 'heif', 'jp2'])

/** The encoded bytes of a picture, in an array of this call's own. E_IMAGE, naming `where` and the source: it cannot be read. */
export async function readPicture(source: ImageSource, imageRoot: string, where: string): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return nonEmpty(source.subarray(), `${where}: the picture given as bytes`)
  const text = String(source)
  const name = text.length > 200 ? `${text.slice(0, 60)}...` : text
  if (/^data:/i.test(text)) return nonEmpty(dataUrlBytes(text, `${where}: ${name}`), `${where}: ${name}`)
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(text) && !/^file:/i.test(text))
    throw new Vlm2VecError(
      'E_IMAGE',
      `${where}: ${name}: only paths, file: and data: URLs are read. Download it first.`
    )
  const path = /^file:/i.test(text) ? fileUrlPath(text, where) : isAbsolute(text) ? text : join(imageRoot, text)
  try {
    return nonEmpty(await readFile(path), `${where}: ${path}`)
  } catch (cause) {
    if (cause instanceof Vlm2VecError) throw cause
    const { code, message } = cause as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'no such file; paths are relative to --image-root' : message
    throw new Vlm2VecError('E_IMAGE', `${where}: picture ${path}: ${reason}.`, { cause })
  }
}

function nonEmpty(bytes: Uint8Array, name: string): Uint8Array {
  if (bytes.length === 0) throw new Vlm2VecError('E_IMAGE', `${name} is empty.`)
  return bytes
}

function dataUrlBytes(url: string, name: string): Uint8Array {
  const comma = url.indexOf(',')
  if (comma < 0) throw new Vlm2VecError('E_IMAGE', `${name}: a data: URL without a comma.`)
  const payload = url
    .slice(comma + 1)
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(payload, /;base64$/i.test(url.slice(0, comma)) ? 'base64' : 'latin1')
}

function fileUrlPath(url: string, where: string): string {
  try {
    return fileURLToPath(url)
  } catch (cause) {
    throw new Vlm2VecError('E_IMAGE', `${where}: ${url}: not a file: URL of this machine.`, { cause })
  }
}

// Warnings (as of stray bytes between JPEG markers) are tolerated as Pillow tolerates them; truncation is not.
const open = (bytes: Uint8Array) => sharp(bytes, { failOn: 'error', limitInputPixels: false, ignoreIcc: true })

// Kept with the bytes: a picture is measured before it is decoded, and opening a small one takes as long as its pixels.
const headers = new WeakMap<Uint8Array, Promise<Metadata>>()

function headerOf(bytes: Uint8Array): Promise<Metadata> {
  const header = headers.get(bytes) ?? open(bytes).metadata()
  headers.set(bytes, header)
  return header
}

/** Width and height by the header; null where decoding would refuse it. */
export async function measurePicture(
  bytes: Uint8Array,
  pixelLimit = DEFAULT_PIXEL_LIMIT
): Promise<{ width: number; height: number } | null> {
  try {
    const { width, height } = await headerOf(bytes)
    return width * height > pixelLimit ? null : { width, height }
  } catch {
    return null
  }
}

/** E_IMAGE, naming `name`: not a picture, truncated or damaged, or larger than the limit. */
export async function decodePicture(
  bytes: Uint8Array,
  { name, pixelLimit = DEFAULT_PIXEL_LIMIT }: { name: string; pixelLimit?: number | undefined }
): Promise<RgbImage> {
  const metadata = await headerOf(bytes).catch((cause: unknown) => {
    throw new Vlm2VecError(
      'E_IMAGE',
      `${name}: not a picture, or truncated or damaged from its header on (${reasonOf(cause)}).`,
      {
        cause
      }
    )
  })
  const { width, height, format, space, depth, channels } = metadata
  if (!FORMATS.has(format))
    throw new Vlm2VecError('E_IMAGE', `${name}: pictures in ${format} are not read; convert it to PNG or JPEG.`)
  if (width * height > pixelLimit)
    throw new Vlm2VecError(
      'E_IMAGE',
      `${name}: the picture has ${width} x ${height} pixels, more than the limit of ${pixelLimit}. Make it smaller, or raise the limit.`
    )
  if (format === 'gif') return gifFrame(bytes, name)
  const image = open(bytes)
  const gray16 = depth === 'ushort' && channels === 1
  if (space === 'cmyk') image.pipelineColourspace('cmyk').toColourspace('cmyk')
  else if (gray16) image.toColourspace('grey16')
  else image.removeAlpha().toColourspace('srgb')
  const { data, info } = await image
    .raw({ depth: gray16 ? 'ushort' : 'uchar' })
    .toBuffer({ resolveWithObject: true })
    .catch((cause: unknown) => {
      throw new Vlm2VecError('E_IMAGE', `${name}: the picture is truncated or damaged (${reasonOf(cause)}).`, { cause })
    })
  const pixels = space === 'cmyk' ? rgbOfCmyk(data) : gray16 ? rgbOfGray16(data) : data
  return { width: info.width, height: info.height, data: pixels }
}

function gifFrame(bytes: Uint8Array, name: string): RgbImage {
  try {
    return decodeGif(bytes)
  } catch (cause) {
    throw new Vlm2VecError('E_IMAGE', `${name}: the picture is truncated or damaged (${reasonOf(cause)}).`, { cause })
  }
}

const reasonOf = (cause: unknown): string => (cause as Error).message.trim().split('\n')[0]!

/** Pillow (12.3) clips 16-bit gray to 255; of 16-bit colours it takes the high byte, as sharp does. */
function rgbOfGray16(data: Buffer): Uint8Array {
  const values = new Uint16Array(data.buffer, data.byteOffset, data.length / 2)
  const rgb = new Uint8Array(3 * values.length)
  for (let i = 0; i < values.length; i++) rgb.fill(Math.min(values[i]!, 255), 3 * i, 3 * i + 3)
  return rgb
}

/** Pillow's cmyk2rgb: (255 - K) - C * (255 - K) / 255, rounded, for each of C, M, Y. */
function rgbOfCmyk(cmyk: Buffer): Uint8Array {
  const count = cmyk.length / 4
  const rgb = new Uint8Array(3 * count)
  for (let i = 0; i < count; i++) {
    const white = 255 - cmyk[4 * i + 3]!
    for (let c = 0; c < 3; c++) {
      const product = cmyk[4 * i + c]! * white + 128
      rgb[3 * i + c] = white - ((product + (product >> 8)) >> 8)
    }
  }
  return rgb
}
