/** A blob up to this is checked before its first byte goes out, so that a lying upstream costs no reader anything. */
const CHECKED_FIRST_BYTES = 512 * 1024
/** Unless that would keep its readers waiting for longer than this. */
const PATIENCE_MS = 2_000

/**
 * When readers learn of a download: of a large blob the size at once and the bytes as they come, of a small one, or of one
 * that somebody has lied about, nothing before all of it has been checked.
 */
export class Disclosure {
  /** Resolves when readers may be told the size. */
  readonly known: Promise<void>
  readonly #onHurried: () => void
  #resolve!: () => void
  #told = false
  #lied = false
  #hurried = false
  #patience: NodeJS.Timeout | undefined

  /** @param onHurried called when a small blob takes too long to be held back */
  constructor({ onHurried }: { onHurried: () => void }) {
    this.#onHurried = onHurried
    this.known = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  /** Whether readers may have been told the size. */
  get told(): boolean {
    return this.#told
  }

  /** Whether nothing may be given out yet. @param keeps whether all of it can be held until it is checked */
  holdsBack(sizeBytes: number | undefined, keeps: boolean): boolean {
    const small = sizeBytes !== undefined && sizeBytes <= CHECKED_FIRST_BYTES
    return (small && !this.#hurried) || (this.#lied && keeps)
  }

  /** Bytes are about to come. */
  begin(sizeBytes: number | undefined, keeps: boolean): void {
    if (this.holdsBack(sizeBytes, keeps)) this.#patience ??= setTimeout(() => this.#hurry(), PATIENCE_MS)
    else this.tell()
  }

  tell(): void {
    this.#told = true
    this.#resolve()
  }

  /** From now on nothing more goes out unchecked. */
  lied(): void {
    this.#lied = true
  }

  end(): void {
    clearTimeout(this.#patience)
  }

  #hurry(): void {
    this.#hurried = true
    this.tell()
    this.#onHurried()
  }
}
