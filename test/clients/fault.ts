import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

/** How an upstream spoils a blob. `after` is a share of the body, from 0 to 1. */
export type Fault =
  | { kind: 'cut' | 'stall'; after: number }
  | { kind: 'html' }
  | { kind: 'flip' }
  | { kind: 'throttle'; bytesPerSecond: number }

interface Spoilt {
  headers: IncomingHttpHeaders
  body: AsyncIterable<Buffer>
}

/**
 * The answer's head and body as `fault` leaves them; without a fault, as they are.
 * @param gone ends the waiting of a stalled or throttled body once nobody reads it
 */
export function withFault(fault: Fault | undefined, answer: IncomingMessage, gone: AbortSignal): Spoilt {
  if (fault?.kind === 'html') return page(answer)
  return { headers: answer.headers, body: fault ? spoil(answer, fault, gone) : answer }
}

/** What a captive portal answers: 200, and a page instead of the blob. */
function page(answer: IncomingMessage): Spoilt {
  answer.resume()
  const html = Buffer.from('<!doctype html><title>Sign in to this network</title>')
  async function* once() {
    yield html
  }
  return { headers: { 'content-type': 'text/html', 'content-length': String(html.length) }, body: once() }
}

async function* spoil(answer: IncomingMessage, fault: Exclude<Fault, { kind: 'html' }>, gone: AbortSignal) {
  const length = Number(answer.headers['content-length'])
  const limit = 'after' in fault ? Math.floor(length * fault.after) : length
  const startedAt = performance.now()
  let at = 0
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    const kept = chunk.subarray(0, Math.max(0, limit - at))
    if (fault.kind === 'flip') flipMiddle(kept, at, length)
    if (fault.kind === 'throttle') yield* paced(kept, at, fault.bytesPerSecond, startedAt, gone)
    else if (kept.length > 0) yield kept
    at += chunk.length
    if (at < limit || !('after' in fault)) continue
    if (fault.kind === 'stall') await sleep(2 ** 30, undefined, { signal: gone })
    // The bytes before the cut are to arrive: a reset at once would take them back out of the socket's buffer.
    await sleep(50, undefined, { signal: gone })
    throw new Error('cut on purpose')
  }
}

/** Small pieces, each when it is due. */
async function* paced(chunk: Buffer, at: number, bytesPerSecond: number, startedAt: number, gone: AbortSignal) {
  for (let offset = 0; offset < chunk.length; offset += 16_384) {
    const dueAt = startedAt + ((at + offset) / bytesPerSecond) * 1000
    const early = dueAt - performance.now()
    if (early > 1) await sleep(early, undefined, { signal: gone })
    yield chunk.subarray(offset, offset + 16_384)
  }
}

function flipMiddle(chunk: Buffer, at: number, length: number): void {
  const index = Math.floor(length / 2) - at
  if (index >= 0 && index < chunk.length) chunk.writeUInt8(chunk.readUInt8(index) ^ 0xff, index)
}
