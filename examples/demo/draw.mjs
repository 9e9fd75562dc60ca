/** Draws scenes, with soft edges, from signed distances to the shapes. Written as PNG by sharp. */
import sharp from 'sharp'

const RGB = {
  red: [225, 45, 40],
  green: [50, 170, 60],
  blue: [45, 90, 225],
  yellow: [245, 215, 45],
  purple: [150, 60, 190],
  orange: [245, 135, 30],
  cyan: [60, 205, 215],
  white: [240, 240, 240]
}

/** Distance to the edge of a shape of radius 1, negative inside. Shapes are about equally large. */
const DISTANCE = {
  circle: (x, y) => Math.hypot(x, y) - 0.92,
  ring: (x, y) => Math.abs(Math.hypot(x, y) - 0.7) - 0.24,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) - 0.8,
  triangle: (x, y) => Math.max(Math.abs(x) * 0.866 - y * 0.5, y) - 0.55,
  cross: (x, y) => {
    const [a, b] = [Math.abs(x), Math.abs(y)]
    return Math.min(Math.max(a - 0.95, b - 0.32), Math.max(a - 0.32, b - 0.95))
  },
  star: (x, y) => {
    // One of five equal sectors, mirrored at its axis: the edge runs from the tip to the notch between two tips.
    const angle = Math.atan2(x, -y)
    const sector = (2 * Math.PI) / 5
    const folded = Math.abs(angle - sector * Math.round(angle / sector))
    const radius = Math.hypot(x, y)
    const [px, py] = [radius * Math.cos(folded), radius * Math.sin(folded)]
    const [nx, ny] = [0.42 * Math.cos(sector / 2), 0.42 * Math.sin(sector / 2)]
    const length = Math.hypot(nx - 1, ny)
    return ((px - 1) * ny - py * (nx - 1)) / length
  }
}

/** The pixels of one view, (side, side, 3) bytes. */
export function drawView(view, side) {
  const pixels = new Uint8Array(side * side * 3)
  const [hue, saturation, value] = view.background
  const background = hsv(hue, saturation, value)
  for (let i = 0; i < pixels.length; i++) pixels[i] = background[i % 3]
  for (const object of view.objects) drawObject(pixels, side, object)
  return pixels
}

function drawObject(pixels, side, { shape, colour, x, y, radius, angle }) {
  const distance = DISTANCE[shape]
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
  const r = radius * side
  const [centreX, centreY] = [x * side, y * side]
  const reach = r * 1.4
  for (let row = Math.max(0, Math.floor(centreY - reach)); row < Math.min(side, centreY + reach); row++)
    for (let column = Math.max(0, Math.floor(centreX - reach)); column < Math.min(side, centreX + reach); column++) {
      const [u, v] = [(column + 0.5 - centreX) / r, (row + 0.5 - centreY) / r]
      const inside = 0.5 - distance(u * cos + v * sin, v * cos - u * sin) * r
      if (inside <= 0) continue
      const cover = Math.min(1, inside)
      const at = (row * side + column) * 3
      for (let c = 0; c < 3; c++) pixels[at + c] += cover * (RGB[colour][c] - pixels[at + c])
    }
}

/** The square around one object of a view, as {left, top, side} in pixels. */
export function boxOf(object, side) {
  const half = object.radius * 1.15 * side
  const left = Math.max(0, Math.round(object.x * side - half))
  const top = Math.max(0, Math.round(object.y * side - half))
  return { left, top, side: Math.min(side - left, side - top, Math.round(2 * half)) }
}

/** A square part of a picture's pixels. */
export function crop(pixels, side, box) {
  const part = new Uint8Array(box.side * box.side * 3)
  for (let row = 0; row < box.side; row++) {
    const from = ((box.top + row) * side + box.left) * 3
    part.set(pixels.subarray(from, from + box.side * 3), row * box.side * 3)
  }
  return part
}

export async function writePng(path, pixels, side) {
  await sharp(pixels, { raw: { width: side, height: side, channels: 3 } })
    .png({ compressionLevel: 1 })
    .toFile(path)
}

function hsv(h, s, v) {
  const channel = (n) => {
    const k = (n + h * 6) % 6
    return 255 * (v - v * s * Math.max(0, Math.min(k, 4 - k, 1)))
  }
  return [channel(5), channel(3), channel(1)]
}
