/** A trouble that comes again and again is said once, and once more when it comes back after it was over. */
export class Complaint {
  #said = false

  /** The trouble is there. @returns whether it is to be said now */
  raise(): boolean {
    const first = !this.#said
    this.#said = true
    return first
  }

  /** It is over. */
  over(): void {
    this.#said = false
  }
}
