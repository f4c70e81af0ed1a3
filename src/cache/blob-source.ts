/** One stream of a blob's bytes. */
export interface BlobBytes {
  body: AsyncIterable<Buffer>
  /** Of the whole blob, in bytes; `undefined` when the upstream does not say. */
  size: number | undefined
  upstream: string
  /** Whether it goes on to the end of the blob, wherever it was asked to end. */
  toEnd: boolean
  /** Ends the stream early. */
  destroy(): void
  /** Says that it broke off, stalled or was too long. */
  failed(error: unknown): void
}

/** What is to be fetched beside other streams: the bytes from `from` up to and without `to`. */
export interface Beside {
  from: number
  to: number
  /** Who is asked: as `spare` has just said. */
  upstream: string
  /** Aborts when it is not needed any more, also because it is late. */
  signal: AbortSignal
}

/** One blob's download, over whatever upstreams there are. */
export interface BlobSource {
  /** Of the whole blob, in bytes, when a manifest has said so. */
  readonly sizeBytes?: number | undefined
  /**
   * The bytes from `from` on, up to `to` (exclusive) or the end, of the same upstream or the next.
   *
   * @throws when every upstream has been tried often enough
   */
  next(from: number, to: number | undefined, signal?: AbortSignal): Promise<BlobBytes>
  /** How long the upstream that is asked first mostly takes for so many bytes, milliseconds; not a number while that is not known. */
  usualMs(bytes: number): number
  /** Who may give one more stream beside those that run, if anybody. @param not who must not */
  spare(not?: string): string | undefined
  /**
   * One more stream, asked for once.
   *
   * @returns undefined when the upstream could not give it
   * @throws the signal's reason
   */
  beside(wanted: Beside): Promise<BlobBytes | undefined>
  /** It came too slowly, or did not answer: others do the rest. */
  outpaced(upstream: string): void
  /** The whole did not match its digest, and these upstreams gave bytes of it that were wrong: they are not asked again. */
  lied(upstreams: readonly string[]): void
  /** One of these gave wrong bytes: from here on one upstream at a time, and these after all others. */
  doubt(upstreams: readonly string[]): void
  /** The download is over: nothing more is asked. Called once. */
  close(): void
}

/** A source broke its promises in a way that asking it again would not mend. */
export class ContradictionError extends Error {
  override readonly name = 'ContradictionError'
}
