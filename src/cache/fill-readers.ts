import { type BlobReader, WrongBytesError } from '../oci/content.js'

/** What readers see of a download. */
export interface FillView {
  /** How many bytes may be read at `position` now. */
  readableAt(position: number): number
  /** Reads bytes that may be read; 0 when they have just been thrown away. */
  read(buffer: Uint8Array, position: number): Promise<number>
  /** How it ended: with so many bytes, or not at all; `undefined` while it goes on. */
  end(): { size: number } | { failure: unknown } | undefined
  /** Called when a reader begins to wait for bytes. */
  onWaiting(): void
  /** Called when the last word on a reader has been said: it is closed. */
  onClosed(): Promise<void>
}

/** Where one reader is. */
interface Cursor {
  /** Where its next byte would be read. */
  position: number
  started: boolean
  /** It waits for a byte at `position`. */
  waiting: boolean
  /** What it has read, or was promised, turned out to be wrong. */
  cut: boolean
  closed: boolean
}

/** The readers that follow one download, each at its own pace, and the waiting between them and it. */
export class FillReaders {
  readonly #view: FillView
  readonly #cursors = new Set<Cursor>()
  #waiting: (() => void)[] = []

  constructor(view: FillView) {
    this.#view = view
  }

  /** Where the slowest is; `undefined` when there is none. */
  get slowest(): number | undefined {
    if (this.#cursors.size === 0) return undefined
    return Math.min(...[...this.#cursors].map(({ position }) => position))
  }

  /** Where they are; of those who wait the one who waits longest comes first. */
  get positions(): readonly { position: number; waiting: boolean }[] {
    return [...this.#cursors]
  }

  /** A reader from any position on; the caller closes it. */
  open(): BlobReader {
    const cursor: Cursor = { position: 0, started: false, waiting: false, cut: false, closed: false }
    this.#cursors.add(cursor)
    return {
      read: (buffer, position) => this.#read(cursor, buffer, position),
      close: () => this.#close(cursor),
    }
  }

  /** Ends those that have read something, or all of them: it was wrong. */
  cut(which: 'started' | 'all'): void {
    for (const cursor of this.#cursors) cursor.cut ||= which === 'all' || cursor.started
    this.wake()
  }

  /** Resolves at the next `wake`. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Something has changed: more can be read, it has ended, or a reader has moved. */
  wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }

  async #read(cursor: Cursor, buffer: Uint8Array, position: number): Promise<number> {
    cursor.position = position
    for (;;) {
      if (cursor.closed) throw new Error('the reader is closed')
      if (cursor.cut) throw new WrongBytesError()
      const readable = this.#view.readableAt(position)
      if (readable > 0) {
        // Set before the bytes are here: they may turn out to be wrong while they are being read.
        cursor.started = true
        const count = await this.#view.read(buffer.subarray(0, readable), position)
        if (count > 0) return this.#advance(cursor, position + count, count)
      }
      const end = this.#view.end()
      if (end && 'failure' in end) throw new Error('the blob could not be fetched', { cause: end.failure })
      if (end && position >= end.size) return 0
      cursor.waiting = true
      // In the order in which they began to wait: those who were woken for nothing wait again in the same order.
      if (this.#cursors.delete(cursor)) this.#cursors.add(cursor)
      this.#view.onWaiting()
      await this.changed()
      cursor.waiting = false
    }
  }

  #advance(cursor: Cursor, position: number, count: number): number {
    cursor.position = position
    // A download that keeps nothing waits for its slowest reader.
    this.wake()
    return count
  }

  async #close(cursor: Cursor): Promise<void> {
    if (cursor.closed) return
    cursor.closed = true
    this.#cursors.delete(cursor)
    // A read that waits for bytes finds the reader closed; a download that waits for a slow reader finds it gone.
    this.wake()
    await this.#view.onClosed()
  }
}
