import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from './fault.js'

/** The connection ends here: reset, or closed in order. */
export class BreakError extends Error {
  constructor(readonly how: 'reset' | 'close') {
    super(`${how} on purpose`)
  }
}

type BodyFault = Extract<Fault, { kind: 'cut' | 'end' | 'stall' | 'short' | 'long' | 'flip' | 'throttle' }>

const PIECE = 16_384

/**
 * A body of `length` bytes as the fault leaves it.
 *
 * @param gone ends the waiting of one that stalls or is throttled once nobody reads it
 */
export async function* spoil(body: AsyncIterable<Buffer>, fault: BodyFault, length: number, gone: AbortSignal) {
  const limit = 'after' in fault ? Math.floor(length * fault.after) : Number.POSITIVE_INFINITY
  const startedAt = performance.now()
  let at = 0
  for await (const chunk of body) {
    const kept = chunk.subarray(0, Math.max(0, limit - at))
    if (fault.kind === 'flip') flipMiddle(kept, at, length)
    if (fault.kind === 'throttle') yield* paced(kept, at, fault.bytesPerSecond, startedAt, gone)
    else if (kept.length > 0) yield kept
    at += chunk.length
    if (at < limit) continue
    if (fault.kind === 'short') continue
    if (fault.kind === 'stall') await sleep(2 ** 30, undefined, { signal: gone })
    // The bytes before are to arrive: a reset at once would take them back out of the socket's buffer.
    await sleep(50, undefined, { signal: gone })
    throw new BreakError(fault.kind === 'end' ? 'close' : 'reset')
  }
  if (fault.kind === 'long') yield Buffer.alloc(fault.bytes, 'too much')
}

/** Small pieces, each when it is due. */
async function* paced(chunk: Buffer, at: number, bytesPerSecond: number, startedAt: number, gone: AbortSignal) {
  const piece = Math.max(1, Math.min(PIECE, Math.floor(bytesPerSecond / 10)))
  for (let offset = 0; offset < chunk.length; offset += piece) {
    const dueAt = startedAt + ((at + offset) / bytesPerSecond) * 1000
    const early = dueAt - performance.now()
    if (early > 1) await sleep(early, undefined, { signal: gone })
    yield chunk.subarray(offset, offset + piece)
  }
}

function flipMiddle(chunk: Buffer, at: number, length: number): void {
  const index = Math.floor(length / 2) - at
  if (index >= 0 && index < chunk.length) chunk.writeUInt8(chunk.readUInt8(index) ^ 0xff, index)
}
