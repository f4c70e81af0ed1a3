/**
 * A clock that is never set back: where the one behind it is, it goes on from where it was; where that one is set ahead, it
 * follows. For what holds for a while and is forgotten with the process, so that a wait does not last for hours more.
 * After such a jump it is ahead of the time of day.
 *
 * @param clock in milliseconds
 */
export function steady(clock: () => number): () => number {
  let last = clock()
  let lead = 0
  return () => {
    const at = clock()
    lead = Math.max(lead, last - at)
    last = at + lead
    return last
  }
}
