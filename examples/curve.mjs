/** A line chart as SVG: axes with round numbers, one or more series. */
const SIZE = { width: 720, height: 300, left: 52, right: 16, top: 12, bottom: 40 }
const COLOURS = ['#2f6fed', '#d1495b', '#1f9d61']

/** `series`: [{ name, points: [[x, y], ...] }]; `x` and `y` name the axes. The vertical axis starts at 0. */
export function curve({ series, x, y }) {
  const points = series.flatMap((each) => each.points)
  const highest = { x: Math.max(...points.map((p) => p[0]), 1), y: Math.max(...points.map((p) => p[1]), 1e-9) }
  const ticks = { x: roundSteps(highest.x), y: roundSteps(highest.y) }
  const end = { x: highest.x, y: ticks.y.at(-1) }
  const inner = { width: SIZE.width - SIZE.left - SIZE.right, height: SIZE.height - SIZE.top - SIZE.bottom }
  const atX = (value) => (SIZE.left + (inner.width * value) / end.x).toFixed(1)
  const atY = (value) => (SIZE.top + inner.height * (1 - value / end.y)).toFixed(1)
  const bottom = SIZE.top + inner.height
  const grid = [
    ...ticks.y.map(
      (value) =>
        `<line class="grid" stroke="#8884" x1="${SIZE.left}" x2="${SIZE.width - SIZE.right}" y1="${atY(value)}" y2="${atY(value)}"/>` +
        `<text x="${SIZE.left - 8}" y="${Number(atY(value)) + 4}" text-anchor="end">${value}</text>`
    ),
    ...ticks.x
      .filter((value) => value <= end.x)
      .map((value) => `<text x="${atX(value)}" y="${bottom + 18}" text-anchor="middle">${value}</text>`)
  ]
  const lines = series.map(
    (each, i) =>
      `<polyline class="series" fill="none" stroke="${COLOURS[i % COLOURS.length]}" stroke-width="2" points="${each.points.map((p) => `${atX(p[0])},${atY(p[1])}`).join(' ')}"/>`
  )
  const names = series
    .filter((each) => each.name)
    .map(
      (each, i) =>
        `<text x="${SIZE.width - SIZE.right}" y="${SIZE.top + 12 + 16 * i}" text-anchor="end" style="fill:${COLOURS[i % COLOURS.length]}">${each.name}</text>`
    )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${SIZE.width} ${SIZE.height}" font-family="sans-serif" font-size="12" fill="#888" role="img" aria-label="${y} by ${x}">
${grid.join('\n')}
${lines.join('\n')}
${names.join('\n')}
<text x="${SIZE.left + inner.width / 2}" y="${SIZE.height - 4}" text-anchor="middle">${x}</text>
<text x="14" y="${SIZE.top + inner.height / 2}" text-anchor="middle" transform="rotate(-90 14 ${SIZE.top + inner.height / 2})">${y}</text>
</svg>`
}

/** Steps of 1, 2 or 5 times a power of ten from 0 to at least `highest`, about five of them. */
function roundSteps(highest) {
  const power = 10 ** Math.floor(Math.log10(highest / 5))
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => highest / each <= 6)
  const count = Math.ceil(highest / step - 1e-9)
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(6)))
}
