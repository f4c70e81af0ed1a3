import { write, writeSync } from 'node:fs'

/** What comes within this time goes out together: a call to the system for each line costs more than all else of it. */
const GATHER_MS = 20
/** A pipe that is full is tried again so much later. */
const RETRY_MS = 50
/** Retries at the end of the process, when nothing else is left to do. */
const LAST_RETRIES = 20

const NOTHING = Buffer.alloc(0)
const LINE_FEED = 0x0a

export interface LineWriterDeps {
  /** File descriptor; it stays open. */
  fd: number
  /** Characters that may wait; a line beyond it is lost. */
  limit: number
  /** Once lines are written again after some were lost: how many. */
  onLost: (lines: number) => void
}

/**
 * Writes lines to a file or pipe, and nobody waits for it: what comes while others are on their way goes out together.
 * Where a pipe is not read or a disk is full, lines are lost, and nothing else.
 */
export class LineWriter {
  readonly #deps: LineWriterDeps
  #waiting: string[] = []
  #waitingLength = 0
  #busy = false
  /** What a full pipe has not taken yet, until it is tried again. */
  #held: Buffer = NOTHING
  #lost = 0
  /** What was written last ends in the middle of a line, the rest of which may be lost. */
  #midLine = false

  constructor(deps: LineWriterDeps) {
    this.#deps = deps
  }

  /** @param line with its line feed */
  write(line: string): void {
    if (this.#waitingLength + line.length > this.#deps.limit) {
      this.#lost++
      return
    }
    this.#waiting.push(line)
    this.#waitingLength += line.length
    if (!this.#busy) this.#gather()
  }

  /** Writes what waits before it returns, for the end of the process: a second's patience with a full pipe. */
  flushSync(): void {
    const lines = this.#take()
    let rest = this.#held.length > 0 ? Buffer.concat([this.#held, Buffer.from(lines.join(''))]) : this.#batch(lines)
    this.#held = NOTHING
    for (let retries = 0; rest.length > 0 && retries < LAST_RETRIES; ) {
      try {
        rest = rest.subarray(writeSync(this.#deps.fd, rest))
      } catch (error) {
        if (!isFull(error)) return
        retries++
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS)
      }
    }
  }

  #take(): string[] {
    const lines = this.#waiting
    this.#waiting = []
    this.#waitingLength = 0
    return lines
  }

  /** The rest of a line that a full disk has cut off is not coming: the next one begins on a line of its own. */
  #batch(lines: readonly string[]): Buffer {
    return Buffer.from(this.#midLine && lines.length > 0 ? `\n${lines.join('')}` : lines.join(''))
  }

  #gather(): void {
    this.#busy = true
    // At the end of the process `flushSync` does it: nothing else need keep that waiting.
    setTimeout(() => this.#writeNext(), GATHER_MS).unref()
  }

  #writeNext(): void {
    const lines = this.#take()
    this.#write(this.#batch(lines), (written) => {
      if (!written) this.#lost += lines.length
      else if (this.#lost > 0) this.#tellOfLost()
      this.#busy = false
      if (this.#waiting.length > 0) this.#gather()
    })
  }

  #write(bytes: Buffer, done: (written: boolean) => void): void {
    write(this.#deps.fd, bytes, (error, count) => {
      if (!error && count > 0) this.#midLine = bytes[count - 1] !== LINE_FEED
      if (error && isFull(error)) this.#writeLater(bytes, done)
      else if (error) done(false)
      else if (count < bytes.length) this.#write(bytes.subarray(count), done)
      else done(true)
    })
  }

  #writeLater(bytes: Buffer, done: (written: boolean) => void): void {
    this.#held = bytes
    const again = () => {
      this.#held = NOTHING
      this.#write(bytes, done)
    }
    setTimeout(again, RETRY_MS).unref()
  }

  #tellOfLost(): void {
    const lines = this.#lost
    this.#lost = 0
    this.#deps.onLost(lines)
  }
}

function isFull(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EAGAIN'
}
