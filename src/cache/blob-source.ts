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
  /** Says that it came too slowly: others do the rest. */
  outpaced(): void
}

/** What is to be fetched beside other streams: the bytes from `from` up to and without `to`. */
export interface Beside {
  from: number
  to: number
  /** The upstream that is not to be asked. */
  not?: string | undefined
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
  /** Whether one more stream may run beside those that do. @param not the upstream that it must not be of */
  spare(not?: string): boolean
  /** One more stream, asked for once; called only while `spare`. @returns undefined when the upstream could not give it */
  beside(wanted: Beside): Promise<BlobBytes | undefined>
  /** The whole did not match its digest, and these upstreams gave bytes of it that were wrong: they are not asked again. */
  lied(upstreams: readonly string[]): void
  /** One of these gave wrong bytes: from here on one upstream at a time, and these after all others. */
  doubt(upstreams: readonly string[]): void
  /** The download is over: nothing more is asked. Called once. */
  close(): void
}
