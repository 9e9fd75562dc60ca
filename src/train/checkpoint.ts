/**
 * checkpoint-N/ directories: a model that Python loads (adapter or whole model) with the optimizer's state and the loop's
 * beside it. They appear whole, by a rename, and the newest good one is never deleted.
 */
import { readFile, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isTemporary, writeDirectoryWhole, writeWhole } from '../atomic.js'

const STATE_FILE = 'loop.json'
export const OPTIMIZER_FILE = 'optimizer.safetensors'

/** Where the loop stands. Order, augmentation and dropout are functions of the step, so that this is all of it. */
export interface LoopState {
  /** steps that are done */
  step: number
  seed: number
  /** rows that were consumed, in the data's order */
  position: number
  /** rows of all sources, by which a changed data set is noticed */
  rows: number
  /** of the configuration, see identity.ts */
  fingerprint: string
}

export interface Checkpoint {
  directory: string
  state: LoopState
}

/** `write` puts model and optimizer files into the directory that it is given. */
export async function saveCheckpoint(
  run: string,
  state: LoopState,
  write: (directory: string) => Promise<void>
): Promise<Checkpoint> {
  const directory = join(run, `checkpoint-${state.step}`)
  await writeDirectoryWhole(directory, async (temporary) => {
    await write(temporary)
    const files = await sizesOf(temporary)
    await writeWhole(join(temporary, STATE_FILE), `${JSON.stringify({ ...state, files }, null, 2)}\n`)
  })
  return { directory, state }
}

/** The checkpoint with the highest step of which no file is missing or cut off, if there is one. */
export async function newestCheckpoint(run: string): Promise<Checkpoint | undefined> {
  for (const step of (await stepsIn(run)).reverse()) {
    const directory = join(run, `checkpoint-${step}`)
    const state = await completeState(directory)
    if (state?.step === step) return { directory, state }
  }
  return undefined
}

/** Deletes all but the `keep` newest checkpoints. Called only after a newer one has been written. */
export async function rotate(run: string, keep: number): Promise<void> {
  const steps = await stepsIn(run)
  for (const step of steps.slice(0, Math.max(0, steps.length - keep))) {
    const directory = join(run, `checkpoint-${step}`)
    // Under its own name a checkpoint is whole, also while it is being deleted.
    const aside = join(run, `.checkpoint-${step}.${process.pid}.old`)
    await rename(directory, aside)
    await rm(aside, { recursive: true, force: true })
  }
}

/** Deletes what a killed process left half written or half deleted. */
export async function removeLeftovers(run: string): Promise<void> {
  for (const name of await readdir(run))
    if (isTemporary(name)) await rm(join(run, name), { recursive: true, force: true })
}

/** Steps of the checkpoint directories, ascending. */
export async function stepsIn(run: string): Promise<number[]> {
  const names = await readdir(run)
  return names
    .flatMap((name) => /^checkpoint-(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b)
}

async function completeState(directory: string): Promise<LoopState | undefined> {
  try {
    const { files, ...state } = JSON.parse(await readFile(join(directory, STATE_FILE), 'utf8')) as LoopState & {
      files: Record<string, number>
    }
    for (const [name, size] of Object.entries(files))
      if ((await stat(join(directory, name))).size !== size) return undefined
    return state
  } catch {
    return undefined
  }
}

async function sizesOf(directory: string): Promise<Record<string, number>> {
  const sizes: Record<string, number> = {}
  for (const name of (await readdir(directory)).sort()) sizes[name] = (await stat(join(directory, name))).size
  return sizes
}
