import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream'
import { createGunzip, gunzipSync } from 'node:zlib'
import { UpstreamError } from './errors.js'

/** What gzip begins with (RFC 1952, 2.3.1). */
const MAGIC = Buffer.from([0x1f, 0x8b])

/**
 * The whole of a small body that was said to be gzip: as it is where it is not, since some stores only say so.
 *
 * @param limit bytes of it, at most
 * @throws {UpstreamError} `lying` when it cannot be undone, or is longer than that
 */
export function gunzipped(bytes: Buffer, limit: number, upstream: string): Buffer {
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) return bytes
  try {
    return gunzipSync(bytes, { maxOutputLength: limit })
  } catch (cause) {
    throw new UpstreamError('lying', 'said to be gzip and cannot be undone', { upstream, cause })
  }
}

/** What a gzip body holds; destroying it destroys that. Its own errors have codes that begin with `Z_`. */
export function gunzipping(body: Readable): Readable {
  // An error of the body is handed on by the pipeline, to whoever reads.
  return pipeline(body, createGunzip(), () => {})
}

export function isEncodingError(error: unknown): boolean {
  return error instanceof Error && /^Z_/.test((error as NodeJS.ErrnoException).code ?? '')
}
