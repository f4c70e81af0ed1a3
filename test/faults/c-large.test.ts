import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseRange } from '../../src/oci/range.js'
import { fetchBlob } from './client.js'
import { memoryOf } from './proc.js'
import { useStage } from './stage.js'
import { WORLD } from './world.js'

const MIB = 1024 * 1024
const GIB = 1024 * MIB

/** So many zeros. */
const SIZE = 4 * GIB + MIB
const DIGEST = 'sha256:829816e339ff597ec3ada4c30fc840d3f2298444169d242952a54bcf3fcd7747'
const ZEROS = Buffer.alloc(MIB)

const stage = useStage({ name: 'c-large', upstreams: [] })

/** Bytes that were sent. */
let sent = 0
let upstream: Server
let url: string

// docker-registry behind a proxy would take most of the time of this test: the upstream makes its zeros as it sends them.
beforeAll(async () => {
  upstream = createServer((request, response) => void serve(request, response)).listen(0, WORLD.upstreams)
  await once(upstream, 'listening')
  url = `http://${WORLD.upstreams}:${(upstream.address() as AddressInfo).port}`
})
afterAll(() => {
  upstream.closeAllConnections()
  upstream.close()
})

async function serve({ method, headers }: IncomingMessage, response: ServerResponse): Promise<void> {
  const [range] = [parseRange(headers.range, SIZE)].flat()
  const { start, end } = typeof range === 'object' ? range : { start: 0, end: SIZE - 1 }
  const partial = range ? { 'content-range': `bytes ${start}-${end}/${SIZE}` } : {}
  response.writeHead(range ? 206 : 200, { 'content-length': end - start + 1, ...partial })
  try {
    await pipeline(zeros(method === 'HEAD' ? 0 : end - start + 1), response)
  } catch {
    // The mirror has broken it off, since another stream has its work.
    response.destroy()
  }
}

function* zeros(bytes: number): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= MIB) {
    const chunk = ZEROS.subarray(0, Math.min(left, MIB))
    sent += chunk.length
    yield chunk
  }
}

// 27 s of both cores' time together, most of it spent on moving and hashing 4 GiB at three places.
test('F61 a blob above 4 GiB: size and digest are right, it is fetched once, and memory does not grow with it', async () => {
  const mirror = await stage.mirror({
    upstreams: [{ name: 'synthetic', url }],
    settings: { storage: { maxSize: '8GiB' } },
  })

  const read = await fetchBlob(mirror.url, 'library/large', { digest: DIGEST, size: SIZE })

  expect(read.headers['content-length']).toBe(String(SIZE))
  // What a stream that was broken off had under way comes on top.
  expect(sent).toBeLessThan(1.01 * SIZE)
  expect((await memoryOf(mirror.pid)).peak).toBeLessThan(512 * MIB)

  const end = await mirror.read(`/v2/library/large/blobs/${DIGEST}`, { range: `bytes=${SIZE - 10}-` })
  expect(end).toMatchObject({ status: 206, bytes: 10, cache: 'hit' })
  expect(end.headers['content-range']).toBe(`bytes ${SIZE - 10}-${SIZE - 1}/${SIZE}`)
}, 240_000)
