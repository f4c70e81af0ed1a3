import type { BlobSource } from './blob-source.js'
import { type Contributions, liarsAmong, type Testimony } from './contributions.js'
import type { Spool } from './spool.js'

export interface SuspicionDeps {
  source: BlobSource
  spool: Spool
  contributions: Contributions
}

/** Whose fault it is that the whole did not match: the one who gave it or, of several, those whose parts were wrong. */
export class Suspicion {
  readonly #source: BlobSource
  readonly #spool: Spool
  readonly #contributions: Contributions
  /** What was given when the whole did not match. */
  #testimonies: Testimony[] = []

  constructor({ source, spool, contributions }: SuspicionDeps) {
    this.#source = source
    this.#spool = spool
    this.#contributions = contributions
  }

  /** What is held is wrong. Of several who gave it the next try shows who it was, unless this was that. */
  async blame(): Promise<void> {
    const { upstreams } = this.#contributions
    const unclear = upstreams.length > 1 && this.#testimonies.length === 0 && this.#spool.keeps
    if (!unclear) return this.#source.lied(upstreams)
    this.#testimonies = await this.#contributions.testimonies(this.#spool)
    this.#source.doubt(upstreams)
  }

  /** What is held is right. */
  async expose(): Promise<void> {
    if (this.#testimonies.length === 0 || !this.#spool.keeps) return
    const liars = await liarsAmong(this.#testimonies, this.#spool)
    if (liars.length > 0) this.#source.lied(liars)
  }
}
