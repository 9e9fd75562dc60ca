/** README.md of a model directory: its metadata, which stands as YAML between two lines of dashes, and its title. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface ModelCard {
  /** empty where there is none, or it cannot be read: a card is for people first */
  metadata: Record<string, unknown>
  /** the first heading */
  title: string
}

export async function readModelCard(directory: string): Promise<ModelCard | undefined> {
  const text = await readFile(join(directory, 'README.md'), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const [, yaml = '', body = text] = /^\uFEFF?---\r?\n([^]*?)\r?\n---\r?\n?([^]*)$/.exec(text) ?? []
  return { metadata: await mappingOf(yaml), title: /^#\s+(.+)$/m.exec(body)?.[1]?.trim() ?? '' }
}

async function mappingOf(yaml: string): Promise<Record<string, unknown>> {
  if (yaml === '') return {}
  const { parse } = await import('yaml')
  try {
    const value = parse(yaml) as unknown
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : {}
  } catch {
    return {}
  }
}

/** Texts of a key that holds one or a list. */
export function textsOf(metadata: Record<string, unknown>, key: string): string[] {
  return [metadata[key]].flat().filter((value) => typeof value === 'string')
}
