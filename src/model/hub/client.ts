/** Requests to the Hugging Face hub: what a repository holds, and its files. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Vlm2VecError } from '../../errors.js'
import type { HubId } from '../../hub-id.js'
import { hubCache, hubHome } from './cache.js'

export interface Hub {
  endpoint: string
  token: string | undefined
  /** never ask the network */
  offline: boolean
  cache: string
  signal?: AbortSignal | undefined
}

/** Milliseconds without an answer, or without a piece of one, after which a connection counts as lost. */
const PATIENCE_MS = 10_000

/** The hub by the variables that Hugging Face documents: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, HF_HOME, HF_HUB_CACHE. */
export async function hubOf(environment: NodeJS.ProcessEnv = process.env, signal?: AbortSignal): Promise<Hub> {
  const { HF_ENDPOINT, HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE } = environment
  const tokenFile = HF_TOKEN_PATH || join(hubHome(environment), 'token')
  const token = HF_TOKEN || HUGGING_FACE_HUB_TOKEN || (await readFile(tokenFile, 'utf8').catch(() => ''))
  return {
    endpoint: (HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, ''),
    token: token.trim() || undefined,
    offline: [HF_HUB_OFFLINE, environment['TRANSFORMERS_OFFLINE']].some((each) =>
      ['1', 'on', 'yes', 'true'].includes(each?.toLowerCase() ?? '')
    ),
    cache: hubCache(environment),
    signal
  }
}

/** The network or the hub fails, where trying again may help. */
export class Unreachable extends Error {}

export interface RepositoryState {
  commit: string
  files: string[]
}

/** E_MODEL: no such model or revision, or no permission. */
export async function repositoryState(hub: Hub, { repository, revision }: HubId): Promise<RepositoryState> {
  const url = `${hub.endpoint}/api/models/${repository}/revision/${encodeURIComponent(revision)}`
  const response = await request(hub, url, { what: `${repository}, revision ${revision}` })
  const json = (await response.json().catch(() => ({}))) as { sha?: unknown; siblings?: { rfilename?: unknown }[] }
  const files = (json.siblings ?? []).map(({ rfilename }) => rfilename)
  if (typeof json.sha !== 'string' || !/^[0-9a-f]{40}$/.test(json.sha) || files.length === 0)
    throw new Unreachable(`${url} did not answer with the files of a model`)
  return { commit: json.sha, files: files.filter((name) => typeof name === 'string') }
}

export interface FileState {
  /** names the content: its SHA-256, or git's hash of it */
  etag: string
  /** bytes */
  size: number
}

const fileUrl = (hub: Hub, repository: string, commit: string, name: string): string =>
  `${hub.endpoint}/${repository}/resolve/${commit}/${name.split('/').map(encodeURIComponent).join('/')}`

export async function fileState(hub: Hub, repository: string, commit: string, name: string): Promise<FileState> {
  const url = fileUrl(hub, repository, commit, name)
  // Large files are redirected to a store that names them otherwise: the hub's own answer counts.
  const { headers } = await request(hub, url, { method: 'HEAD', what: `${repository}/${name}`, storage: false })
  const etag = (headers.get('x-linked-etag') ?? headers.get('etag') ?? '').replace(/^W\//, '').replaceAll('"', '')
  const size = Number(headers.get('x-linked-size') ?? headers.get('content-length') ?? NaN)
  if (!/^[\w-]+$/.test(etag) || !Number.isSafeInteger(size))
    throw new Unreachable(`${url} did not answer with the size and etag of a file`)
  return { etag, size }
}

/** Pieces of a file from byte `start` on. `onStart` is told where they really start: some servers only send whole files. */
export async function* filePieces(
  hub: Hub,
  { repository, commit, name, start }: { repository: string; commit: string; name: string; start: number },
  onStart: (start: number) => Promise<void>
): AsyncGenerator<Uint8Array> {
  const idle = new AbortController()
  const timer = setTimeout(() => idle.abort(new Error(`nothing came for ${PATIENCE_MS / 1000} s`)), PATIENCE_MS)
  try {
    const headers: Record<string, string> = start > 0 ? { range: `bytes=${start}-` } : {}
    const url = fileUrl(hub, repository, commit, name)
    const response = await request(hub, url, { what: `${repository}/${name}`, headers, idle: idle.signal })
    await onStart(response.status === 206 ? start : 0)
    for await (const piece of response.body as unknown as AsyncIterable<Uint8Array>) {
      timer.refresh()
      yield piece
      timer.refresh()
    }
  } catch (cause) {
    throw failureOf(cause, hub)
  } finally {
    clearTimeout(timer)
    idle.abort() // closes the connection where the caller stopped early
  }
}

interface Request {
  /** for messages */
  what: string
  method?: 'GET' | 'HEAD'
  headers?: Record<string, string>
  /** whether redirects to other hosts are followed */
  storage?: boolean
  /** instead of the time limit for the whole answer */
  idle?: AbortSignal
}

const MOST_REDIRECTS = 5

async function request(hub: Hub, url: string, options: Request): Promise<Response> {
  const { what, method = 'GET', headers = {}, storage = true, idle } = options
  const limits = [idle ?? AbortSignal.timeout(PATIENCE_MS), hub.signal].filter((each) => each !== undefined)
  let target = url
  for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
    const own = new URL(target).origin === new URL(hub.endpoint).origin
    const response = await fetch(target, {
      method,
      redirect: 'manual',
      signal: AbortSignal.any(limits),
      headers: {
        'user-agent': 'vlm2vec-native',
        'accept-encoding': 'identity',
        ...headers,
        ...(own && hub.token && { authorization: `Bearer ${hub.token}` })
      }
    }).catch((cause: unknown) => {
      throw failureOf(cause, hub)
    })
    const location = response.headers.get('location')
    if (response.status < 300 || response.status >= 400 || location === null) return checked(response, hub, what)
    const next = new URL(location, target)
    if (!storage && next.origin !== new URL(target).origin) return response
    target = next.href
  }
  throw new Unreachable(`${url} redirects in a circle`)
}

function checked(response: Response, hub: Hub, what: string): Response {
  if (response.ok) return response
  const { status } = response
  const said = response.headers.get('x-error-message') ?? response.statusText
  if (status === 429 || status >= 500) throw new Unreachable(`${hub.endpoint} answered ${status} ${said}`)
  const advice =
    status === 401 || status === 403
      ? hub.token
        ? 'The token does not give access: accept the terms on the page of the model, or check its name.'
        : 'Check its name; for a private or gated model set HF_TOKEN.'
      : 'Check the name and the revision.'
  throw new Vlm2VecError('E_MODEL', `${hub.endpoint} does not give ${what} (${status} ${said}). ${advice}`)
}

/** What went wrong below HTTP, as `Unreachable`; being stopped stays what it is. */
function failureOf(error: unknown, { endpoint, signal }: Hub): unknown {
  if (signal?.aborted) return signal.reason as unknown
  if (error instanceof Vlm2VecError || error instanceof Unreachable) return error
  const { message, cause } = error as Error & { cause?: Error }
  return new Unreachable(`${endpoint} cannot be reached (${cause?.message || message})`, { cause: error })
}
