import { randomUUID } from 'node:crypto'
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { BufferPool } from '../../lib/buffer-pool.js'
import { type OpenBlob, WrongBytesError } from '../../oci/content.js'
import { OciError } from '../../oci/errors.js'
import { type ByteRange, parseRange } from '../../oci/range.js'

const TYPE = 'application/octet-stream'

/** A piece of the body: bytes of the blob, or text between them. */
type Piece = ByteRange | string

interface Answer {
  status: 200 | 206
  headers: OutgoingHttpHeaders
  pieces: Piece[]
}

/**
 * Sends a blob, or the ranges of it that were asked for (RFC 9110, 14.2; several ranges as multipart/byteranges),
 * and closes it. Once the head is out a failure cuts the connection: never a neat end to half a blob.
 *
 * @throws {OciError} 416 or 505 before anything is sent
 */
export async function sendBlob(
  request: FastifyRequest,
  reply: FastifyReply,
  blob: OpenBlob,
  pool: BufferPool,
): Promise<void> {
  const response = reply.raw
  let closed: Promise<void> | undefined
  const close = () => {
    closed ??= blob.reader.close()
    return closed
  }
  try {
    // The client can have left while the blob was being found; nobody would tell us again.
    if (response.destroyed) return
    refuseUndetectableEnd(request, blob)
    const answer = answerFor(blob, wantedRange(request, blob))
    reply.hijack()
    answer.headers = { ...(reply.getHeaders() as OutgoingHttpHeaders), ...answer.headers }
    if (blob.bytes) return sendBytes(response, answer, blob.bytes, request)
    // Readers wait for bytes that may never come: a client that leaves must not be waited for.
    // A failure to close is told below, by the same promise.
    response.once('close', () => void close().catch(() => {}))
    await send(response, answer, blob, pool, request)
  } finally {
    await close()
  }
}

/**
 * HTTP/1.0 has no chunks: without a length the end of the connection is the end of the body, whole or not
 * (RFC 9112, 6.3). Once the blob is here its length is known.
 */
function refuseUndetectableEnd({ raw }: FastifyRequest, { size }: OpenBlob): void {
  if (size !== undefined || raw.httpVersion !== '1.0') return
  throw new OciError('UNSUPPORTED', 'the length of this blob is not known yet: ask with HTTP/1.1', { status: 505 })
}

/** If-Range (RFC 9110, 13.1.5): a range is wanted only of the very bytes that the client has a part of. */
function wantedRange({ headers }: FastifyRequest, { digest }: OpenBlob): string | undefined {
  const condition = headers['if-range']
  return condition === undefined || condition === `"${digest}"` ? headers.range : undefined
}

function answerFor(blob: OpenBlob, rangeHeader: string | undefined): Answer {
  const { size } = blob
  // Without a length there is nothing to count a range against; the whole is a correct answer to any Range.
  if (size === undefined)
    return { status: 200, headers: { 'content-type': TYPE }, pieces: [{ start: 0, end: Number.POSITIVE_INFINITY }] }
  const ranges = parseRange(rangeHeader, size)
  if (ranges === 'unsatisfiable') {
    throw new OciError('SIZE_INVALID', `the range lies outside the blob of ${size} bytes`, {
      status: 416,
      headers: { 'content-range': `bytes */${size}` },
    })
  }
  if (!ranges)
    return {
      status: 200,
      headers: { 'content-type': TYPE, 'content-length': size },
      pieces: [{ start: 0, end: size - 1 }],
    }
  if (ranges.length > 1) return multipart(ranges, size)
  const [range] = ranges as [ByteRange]
  const headers = {
    'content-type': TYPE,
    'content-length': lengthOf(range),
    'content-range': contentRange(range, size),
  }
  return { status: 206, headers, pieces: [range] }
}

/** RFC 9110, 14.6. */
function multipart(ranges: ByteRange[], size: number): Answer {
  const boundary = randomUUID()
  const pieces = [
    ...ranges.flatMap((range, at): Piece[] => [
      `${at > 0 ? '\r\n' : ''}--${boundary}\r\nContent-Type: ${TYPE}\r\nContent-Range: ${contentRange(range, size)}\r\n\r\n`,
      range,
    ]),
    `\r\n--${boundary}--\r\n`,
  ]
  const length = pieces.reduce((sum, piece) => sum + (typeof piece === 'string' ? piece.length : lengthOf(piece)), 0)
  return {
    status: 206,
    headers: { 'content-type': `multipart/byteranges; boundary=${boundary}`, 'content-length': length },
    pieces,
  }
}

async function send(
  response: ServerResponse,
  { status, headers, pieces }: Answer,
  blob: OpenBlob,
  pool: BufferPool,
  request: FastifyRequest,
): Promise<void> {
  try {
    response.writeHead(status, headers)
    for (const piece of pieces) {
      if (typeof piece === 'string') await written(response, Buffer.from(piece))
      else await sendRange(response, blob, piece, pool, request)
    }
    response.end()
  } catch (error) {
    // A client that left is nobody's failure, whether the write that failed or the closed connection tells of it first.
    if (!response.destroyed && !response.closed && !(error instanceof ClientLeftError)) {
      request.facts.broken = true
      request.facts.error = error
    }
    // At an early end containerd asks for the rest, which would complete what is wrong; at a reset podman begins anew.
    if (error instanceof WrongBytesError) response.socket?.resetAndDestroy()
    response.destroy()
  }
}

/** What is in memory is nobody's to wait for: the socket has it until it has gone out, however slowly. */
function sendBytes(
  response: ServerResponse,
  { status, headers, pieces }: Answer,
  bytes: Uint8Array,
  { facts }: FastifyRequest,
): void {
  const parts = pieces.map((piece) =>
    typeof piece === 'string' ? Buffer.from(piece) : bytes.subarray(piece.start, piece.end + 1),
  )
  const [body] = parts.length === 1 ? (parts as [Uint8Array]) : [Buffer.concat(parts)]
  facts.bytes = body.length
  response.writeHead(status, headers)
  response.end(body)
}

/** Reads into two buffers in turn, one being filled while the other is on its way out. */
async function sendRange(
  response: ServerResponse,
  blob: OpenBlob,
  { start, end }: ByteRange,
  pool: BufferPool,
  request: FastifyRequest,
) {
  const buffers = [pool.take(), pool.take()] as const
  const writes: [Promise<void>, Promise<void>] = [Promise.resolve(), Promise.resolve()]
  let returnable = true
  try {
    for (let position = start, turn: 0 | 1 = 0; position <= end; turn = turn === 0 ? 1 : 0) {
      await writes[turn]
      const buffer = buffers[turn]
      const count = await blob.reader.read(buffer.subarray(0, Math.min(buffer.length, end - position + 1)), position)
      if (count === 0 && end === Number.POSITIVE_INFINITY) break
      if (count === 0) throw new Error(`the blob ended at ${position}, before ${end + 1}`)
      writes[turn] = written(response, buffer.subarray(0, count))
      // Whoever awaits the next turn sees the failure; a rejection in between must not count as unhandled.
      writes[turn].catch(() => {})
      position += count
      request.facts.bytes += count
    }
    await Promise.all(writes)
  } catch (error) {
    // A write may still hold a buffer that failed on another: those two are left to the garbage collector.
    returnable = false
    throw error
  } finally {
    if (returnable) for (const buffer of buffers) pool.give(buffer)
  }
}

class ClientLeftError extends Error {
  override readonly name = 'ClientLeftError'

  constructor(options?: ErrorOptions) {
    super('the client left', options)
  }
}

/** @returns when the bytes have left for the socket. @throws {ClientLeftError} when the connection is gone */
function written(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const onClose = () => reject(new ClientLeftError())
    if (response.destroyed) return onClose()
    response.once('close', onClose)
    response.write(bytes, (error) => {
      response.off('close', onClose)
      if (error) reject(new ClientLeftError({ cause: error }))
      else resolve()
    })
  })
}

const lengthOf = ({ start, end }: ByteRange) => end - start + 1
const contentRange = ({ start, end }: ByteRange, size: number) => `bytes ${start}-${end}/${size}`
