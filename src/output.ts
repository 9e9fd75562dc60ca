/** Results on standard output, line by line, with back-pressure. A reader that goes away (`| head`) is no error. */
export interface OutputStream {
  write(text: string, done?: (error?: Error | null) => void): boolean
  on?(event: 'error', listener: (error: Error) => void): unknown
}

export interface Output {
  /** Settles when the line has been taken. Throws when nobody reads any more. */
  print(line: string): Promise<void>
  /** whether the reader went away */
  closed(): boolean
}

export function createOutput(stream: OutputStream): Output {
  let closed = false
  const isPipeError = (error: Error): boolean => {
    const { code } = error as NodeJS.ErrnoException
    return code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED'
  }
  // Without a listener a closed pipe would end the process with a stack trace.
  stream.on?.('error', (error) => {
    if (!isPipeError(error)) throw error
    closed = true
  })
  return {
    closed: () => closed,
    print: (line) =>
      new Promise((resolve, reject) => {
        stream.write(`${line}\n`, (error) => {
          if (!error) return resolve()
          if (isPipeError(error)) closed = true
          reject(error)
        })
      })
  }
}
