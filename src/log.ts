/**
 * Progress and messages for people, on stderr: a line that is redrawn where there is a terminal, plain lines now and then
 * where there is none, nothing but warnings with --quiet.
 */
export interface LogStream {
  write(text: string): unknown
  isTTY?: boolean | undefined
  columns?: number | undefined
}

export interface Progress {
  /** `done` so far, in the unit of the total; `note` stands at the end of the line (such as the loss) */
  update(done: number, note?: string): void
  /** Ends the line. Without `done` the last state stays. */
  end(done?: number, note?: string): void
}

export interface Log {
  info(text: string): void
  warn(text: string): void
  /** `unit` in the plural ("items"); `total` where it is known */
  progress(label: string, unit: string, total?: number): Progress
}

export interface LogOptions {
  quiet: boolean
  /** colour is used only on a terminal, and not with NO_COLOR */
  color: boolean
  /** milliseconds; given in tests */
  now?: () => number
}

const REDRAW_MS = 100
const PLAIN_LINE_MS = 10_000

export function createLog(stream: LogStream, { quiet, color, now = () => performance.now() }: LogOptions): Log {
  const tty = stream.isTTY === true
  let open = ''
  const clear = (): void => {
    if (open) stream.write(`\r${' '.repeat(open.length)}\r`)
  }
  const say = (text: string): void => {
    clear()
    stream.write(`${text}\n`)
    if (open) stream.write(open)
  }
  return {
    info: (text) => {
      if (!quiet) say(text)
    },
    warn: (text) => say(color && tty ? `\u001b[33mWarning:\u001b[39m ${text}` : `Warning: ${text}`),
    progress: (label, unit, total) => {
      const start = now()
      let shown = -Infinity
      const draw = (done: number, note: string, last: boolean): void => {
        const time = now()
        if (quiet || (!last && time - shown < (tty ? REDRAW_MS : PLAIN_LINE_MS))) return
        // Without a terminal the first line comes only after a while: short jobs print just their last one.
        if (!tty && !last && shown === -Infinity) {
          shown = start
          if (time - shown < PLAIN_LINE_MS) return
        }
        shown = time
        const line = progressLine({ label, unit, total, done, note, seconds: (time - start) / 1000 })
        clear()
        open = tty && !last ? line.slice(0, (stream.columns ?? 80) - 1) : ''
        stream.write(open || `${line}\n`)
      }
      let state: [number, string] = [0, '']
      return {
        update: (done, note = '') => draw(...(state = [done, note]), false),
        end: (done = state[0], note = state[1]) => draw(done, note, true)
      }
    }
  }
}

export interface ProgressState {
  label: string
  unit: string
  total: number | undefined
  done: number
  note: string
  seconds: number
}

/** `Embedding 120/1000 items (12 %), 40.0 items/s, 22 s left` */
export function progressLine({ label, unit, total, done, note, seconds }: ProgressState): string {
  const rate = seconds > 0 ? done / seconds : 0
  const parts = [total === undefined ? `${done} ${unit}` : `${done}/${total} ${unit} (${percent(done, total)} %)`]
  if (done > 0 && rate > 0) parts.push(rate >= 1 ? `${rate.toFixed(1)} ${unit}/s` : `${(1 / rate).toFixed(1)} s each`)
  if (total !== undefined && done < total && rate > 0) parts.push(`${duration((total - done) / rate)} left`)
  else parts.push(`in ${duration(seconds)}`)
  if (note) parts.push(note)
  return `${label} ${parts.join(', ')}`
}

function percent(done: number, total: number): number {
  return total === 0 ? 100 : Math.floor((100 * done) / total)
}

/** `45 s`, `3 min 20 s`, `2 h 5 min` */
export function duration(seconds: number): string {
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

/** For callers that want none. */
export const silent: Log = createLog({ write: () => true }, { quiet: true, color: false })
