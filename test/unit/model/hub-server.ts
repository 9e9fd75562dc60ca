/** A small hub on 127.0.0.1: what huggingface.co answers about repositories, and their files. */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export const COMMIT = '0123456789abcdef0123456789abcdef01234567'

export interface HubServer {
  endpoint: string
  /** requests, such as `GET config.json bytes=3-` */
  requests: string[]
  /** names of large files, which are redirected to a store with SHA-256 etags */
  large: Set<string>
  /** the next answers of this file break off after so many bytes */
  breaks: Map<string, number[]>
  token?: string
  close(): Promise<void>
}

/** Serves repositories by name: file names and contents. */
export async function startHub(repositories: Record<string, Record<string, string | Buffer>>): Promise<HubServer> {
  const server = createServer((request, response) => answer(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const hub: HubServer = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    large: new Set(),
    breaks: new Map(),
    close: () => {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    }
  }
  const send = (response: ServerResponse, status: number, headers: object = {}, body: string | Buffer = ''): void => {
    response.writeHead(status, headers as Record<string, string>).end(body)
  }
  function answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(request.url!, hub.endpoint).pathname)
    const stored = path.startsWith('/store/')
    if (hub.token && !stored && request.headers.authorization !== `Bearer ${hub.token}`)
      return send(response, 401, { 'x-error-message': 'Invalid username or password.' })
    const info = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/(.+)$/.exec(path)
    if (info) {
      hub.requests.push(`INFO ${info[1]} ${info[2]}`)
      const files = repositories[info[1]!]
      if (!files || !['main', 'v1', COMMIT].includes(info[2]!)) return send(response, 404)
      const siblings = Object.keys(files).map((rfilename) => ({ rfilename }))
      return send(response, 200, {}, JSON.stringify({ sha: COMMIT, siblings }))
    }
    const [, repository, name] = /^(?:\/store)?\/([^/]+\/[^/]+)\/resolve\/[^/]+\/(.+)$/.exec(path) ?? []
    const content = repositories[repository ?? '']?.[name ?? '']
    if (content === undefined) return send(response, 404)
    const bytes = Buffer.from(content)
    const range = request.headers.range
    hub.requests.push([request.method, name, range].filter(Boolean).join(' '))
    const isLarge = hub.large.has(name!)
    const hash = isLarge
      ? createHash('sha256').update(bytes).digest('hex')
      : createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
    if (isLarge && !stored) {
      const location = `/store${path}`
      // a store of another origin: the same server under its other name
      const elsewhere = `http://localhost:${(server.address() as AddressInfo).port}${location}`
      return send(response, 302, { location: elsewhere, 'x-linked-etag': `"${hash}"`, 'x-linked-size': bytes.length })
    }
    if (stored && request.headers.authorization) return send(response, 400, {}, 'the token was shown to the store')
    const start = range ? Number(/^bytes=(\d+)-$/.exec(range)![1]) : 0
    const headers = { etag: isLarge ? '"other"' : `"${hash}"`, 'content-length': bytes.length - start }
    if (request.method === 'HEAD') return send(response, 200, headers)
    const stop = hub.breaks.get(name!)?.shift()
    response.writeHead(start > 0 ? 206 : 200, headers)
    if (stop === undefined) response.end(bytes.subarray(start))
    else response.write(bytes.subarray(start, start + stop), () => setTimeout(() => response.destroy(), 300))
  }
  return hub
}
