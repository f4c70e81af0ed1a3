/** One stream of a blob's bytes. */
export interface BlobBytes {
  body: AsyncIterable<Buffer>
  /** Of the whole blob, in bytes; `undefined` when the upstream does not say. */
  size: number | undefined
  upstream: string
  /** Ends the stream early. */
  destroy(): void
}

/** One blob's download, over whatever upstreams there are. */
export interface BlobSource {
  /**
   * The bytes from `from` on, of the same upstream or the next.
   *
   * @throws when every upstream has been tried often enough
   */
  next(from: number, signal?: AbortSignal): Promise<BlobBytes>
  /** The current stream broke off, stalled or was too long. */
  failed(error: unknown): void
  /** The whole did not match its digest: whoever contributed is not asked again. */
  lied(): void
}
