import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingHttpHeaders, type IncomingMessage, request as open } from 'node:http'

/** What one reader got, digest and all. */
export interface Reading {
  status: number
  digest: string
  bytes: number
  cache: string | undefined
  source: string | undefined
  headers: IncomingHttpHeaders
  /** `performance.now()` at the first byte of the body. */
  firstByteAt: number
  /** The body of an answer under 64 KiB, as text. */
  text: string
}

/** A plain reader, like curl: its own connection, no limit, the digest computed on the way. @throws when the body is cut */
export async function read(
  url: string,
  headers: Record<string, string> = {},
  method: 'GET' | 'HEAD' = 'GET',
): Promise<Reading> {
  const request = open(url, { agent: false, headers, method })
  request.end()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  // A connection that is reset is an error of the request too; the body tells of it.
  request.on('error', () => {})
  const hash = createHash('sha256')
  const small: Buffer[] = []
  let bytes = 0
  let firstByteAt = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    firstByteAt ||= performance.now()
    bytes += chunk.length
    hash.update(chunk)
    if (bytes < 65_536) small.push(chunk)
  }
  return {
    status: response.statusCode ?? 0,
    digest: `sha256:${hash.digest('hex')}`,
    bytes,
    cache: header(response, 'x-cache'),
    source: header(response, 'x-cache-source'),
    headers: response.headers,
    firstByteAt,
    text: Buffer.concat(small).toString(),
  }
}

/** The same URL read by `count` readers at once. */
export function readTogether(url: string, count: number): Promise<Reading[]> {
  return Promise.all(Array.from({ length: count }, () => read(url)))
}

function header(response: IncomingMessage, name: string): string | undefined {
  const value = response.headers[name]
  return Array.isArray(value) ? value[0] : value
}
