/** What a call across the boundary fails with. */
import { expect } from 'vitest'
import { Vlm2VecError } from '../../src/index.js'

/** The code that a call fails with, whether it throws or rejects. */
export async function codeOf(call: () => unknown): Promise<string> {
  try {
    await call()
    return 'no error'
  } catch (error) {
    if (!(error instanceof Vlm2VecError)) return `${(error as Error).name}: ${(error as Error).message}`
    expect(error.message.length).toBeGreaterThan(10)
    expect(error.cause).toBeInstanceOf(Error)
    return error.code
  }
}
