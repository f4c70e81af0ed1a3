import type { Readable } from 'node:stream'
import type { Digest } from '../oci/digest.js'
import { bareType } from '../oci/media-types.js'
import { parseContentRange } from '../oci/range.js'
import type { Repository } from '../oci/reference.js'
import type { BlobStream } from './answers.js'
import type { Asker } from './asker.js'
import { type BodyOptions, readBody } from './body.js'
import type { Answer } from './connections.js'
import { gunzipping, isEncodingError } from './encoding.js'
import { NoRangesError, RefusedAnswerError, UpstreamError } from './errors.js'
import { contentLength, encodingOf, header } from './headers.js'
import { Pace } from './pace.js'
import { discard } from './redirects.js'
import type { BlobOptions } from './upstream-options.js'

export interface BlobRequestsDeps {
  upstream: string
  asker: Asker
  bodyOptions: (signal: AbortSignal | undefined) => Omit<BodyOptions, 'length'>
  /** 0: however slow. */
  minBytesPerSecond: number
  rateWindowMs: number
}

/** What an answer says of the blob and of itself. */
interface BlobFacts {
  /** Of the whole blob, bytes. */
  size: number | undefined
  /** Bytes at its beginning that were not asked for. */
  skip: number
  /** Bytes after those. */
  length: number | undefined
}

/** One upstream's blobs: their bytes and their sizes, with answers held against what was asked. */
export class BlobRequests {
  readonly #deps: BlobRequestsDeps

  constructor(deps: BlobRequestsDeps) {
    this.#deps = deps
  }

  /**
   * end-2 GET from byte `from` on. A server that ignores the Range has its known bytes dropped inside the stream; where
   * the blob has no byte from there on the stream is empty, and its size may be less than `from`.
   *
   * @throws {UpstreamError} also `lying` for a page, another range than asked for, or an encoding
   * @throws {RefusedAnswerError} for the whole where only a range is of use
   * @throws {NoRangesError} where it refuses a range, and also the same with its end
   */
  async get(
    repository: Repository,
    digest: Digest,
    from: number,
    signal: AbortSignal | undefined,
    options: BlobOptions,
  ): Promise<BlobStream> {
    const { upstream } = this.#deps
    const { to, sizeBytes = 0, rangeOnly = false, mayLeave } = options
    const ending = new AbortController()
    const either = signal ? AbortSignal.any([signal, ending.signal]) : ending.signal
    const ask = (end: number | undefined) =>
      this.#ask(pathOf(repository, digest), repository, rangeOf(from, end, options), signal, options)
    let answer = await ask(to)
    if (isRefusedRange(answer) && to === undefined && from < sizeBytes) {
      discard(answer)
      answer = await ask(sizeBytes)
    }
    if (isRefusedRange(answer)) {
      discard(answer)
      if (answer.status === 416 && from > 0)
        return this.#nothingAfter(from, await this.stat(repository, digest, signal))
      throw new NoRangesError('lying', `answered ${answer.status} to a range`, { upstream })
    }
    try {
      const { size, skip, length, bytes } = this.#contentOf(answer, from, options)
      if (rangeOnly && skip > 0) throw new RefusedAnswerError('lying', 'the whole instead of a range', { upstream })
      const pace = mayLeave && this.#paceOf(mayLeave)
      const body = readBody({ body: bytes }, { ...this.#bodyOptions(either), skip, length, pace })
      const destroy = () => {
        ending.abort(new UpstreamError('down', 'the stream was closed', { upstream }))
        answer.body.destroy()
      }
      return { body, size, upstream, toEnd: to === undefined || answer.status === 200, destroy }
    } catch (error) {
      // What is left of a whole blob is not worth the connection.
      answer.body.destroy()
      throw error
    }
  }

  /** end-2 HEAD; where that gives no length, the first byte is asked for. @throws {UpstreamError} `lying` when no size can be had */
  async stat(
    repository: Repository,
    digest: Digest,
    signal?: AbortSignal,
    begun?: () => void,
  ): Promise<{ size: number; upstream: string }> {
    const { asker, upstream } = this.#deps
    const path = pathOf(repository, digest)
    const head = await asker.ask({ method: 'HEAD', path, repository, signal, begun, accept: [405, 501] })
    discard(head)
    if (head.status === 200) {
      this.#refusePage(head)
      const size = contentLength(head.headers)
      if (size !== undefined) return { size, upstream }
    }
    const first = await asker.ask({ path, repository, headers: { range: 'bytes=0-0' }, signal })
    first.body.destroy()
    const { size } = this.#facts(first, 0)
    if (size !== undefined) return { size, upstream }
    throw new UpstreamError('lying', 'the size of the blob cannot be had', { upstream })
  }

  /** A range beyond the end (RFC 9110, 15.5.17): whoever asked for it has more than there is, or something else. */
  #nothingAfter(from: number, { size, upstream }: { size: number; upstream: string }): BlobStream {
    if (size > from) throw new NoRangesError('lying', `nothing from ${from} on of ${size} bytes`, { upstream })
    return { body: nothing(), size, upstream, toEnd: true, destroy() {} }
  }

  /** What the answer holds, undone where it is compressed and its length is not that of the blob. */
  #contentOf(answer: Answer, from: number, { encoded, sizeBytes }: BlobOptions): BlobFacts & { bytes: Readable } {
    const facts = this.#facts(answer, from)
    const isAsIs = encoded === 'as-is' && (sizeBytes === undefined || facts.size === sizeBytes)
    if (isAsIs || encodingOf(answer) === 'identity') return { ...facts, bytes: answer.body }
    const length = sizeBytes === undefined ? undefined : sizeBytes - from
    return { size: sizeBytes, skip: from, length, bytes: gunzipping(answer.body) }
  }

  #bodyOptions(signal: AbortSignal): Omit<BodyOptions, 'length'> {
    const { bodyOptions, upstream } = this.#deps
    const options = bodyOptions(signal)
    const failure = (cause: unknown) =>
      isEncodingError(cause)
        ? new UpstreamError('lying', 'said to be gzip and cannot be undone', { upstream, cause })
        : options.failure(cause)
    return { ...options, failure }
  }

  /** RFC 9110, 15.3.7. */
  #facts(answer: Answer, from: number): BlobFacts {
    this.#refusePage(answer)
    if (answer.status === 200) {
      const size = contentLength(answer.headers)
      return { size, skip: from, length: size === undefined ? undefined : size - from }
    }
    const range = parseContentRange(header(answer.headers, 'content-range'))
    if (!range || range.start !== from) {
      throw new UpstreamError('lying', `another range than from ${from} on`, { upstream: this.#deps.upstream })
    }
    return { size: range.total, skip: 0, length: range.end - range.start + 1 }
  }

  #refusePage({ headers }: Answer): void {
    if (bareType(header(headers, 'content-type')) !== 'text/html') return
    throw new UpstreamError('lying', 'a page instead of the blob', { upstream: this.#deps.upstream, foreign: true })
  }

  #ask(
    path: string,
    repository: Repository,
    range: string | undefined,
    signal: AbortSignal | undefined,
    { begun, redirect, encoded }: BlobOptions,
  ): Promise<Answer> {
    return this.#deps.asker.ask({
      path,
      repository,
      wanted: 'blob',
      headers: range === undefined ? {} : { range },
      signal,
      begun,
      redirect,
      encoded: encoded !== undefined,
      accept: range === undefined ? [] : [400, 416],
    })
  }

  #paceOf(mayLeave: () => boolean): Pace | undefined {
    const { upstream, minBytesPerSecond, rateWindowMs: windowMs } = this.#deps
    return minBytesPerSecond > 0 ? new Pace({ upstream, minBytesPerSecond, windowMs, mayLeave }) : undefined
  }
}

const pathOf = (repository: Repository, digest: Digest) => `/v2/${repository}/blobs/${digest}`

/** Without an end where it reaches to the end of the blob: who knows its size only by hearsay may be wrong. */
function rangeOf(from: number, to: number | undefined, { noRange, encoded }: BlobOptions): string | undefined {
  if (noRange || encoded || (from === 0 && to === undefined)) return undefined
  return `bytes=${from}-${to === undefined ? '' : to - 1}`
}

const isRefusedRange = ({ status }: Answer) => status === 400 || status === 416

async function* nothing(): AsyncGenerator<Buffer> {}
