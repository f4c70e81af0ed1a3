/** Shares one piece of work between all who ask for the same key while it runs. */
export class SingleFlight<Value> {
  readonly #running = new Map<string, Promise<Value>>()

  /** Joins the work under way for `key`, or starts it. All who joined get its one result or its one failure. */
  run(key: string, work: () => Promise<Value>): Promise<Value> {
    const running = this.#running.get(key)
    if (running) return running
    const started = work().finally(() => this.#running.delete(key))
    this.#running.set(key, started)
    return started
  }
}
