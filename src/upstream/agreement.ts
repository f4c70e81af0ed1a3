import { delay } from '../lib/abortable.js'
import type { Digest } from '../oci/digest.js'
import type { Repository } from '../oci/reference.js'
import { OutrunError, UpstreamError } from './errors.js'
import type { Upstream } from './upstream.js'

/** What one upstream says that a tag is. */
export interface Word {
  upstream: string
  digest: Digest
}

export interface GatherOptions {
  repository: Repository
  voters: readonly Upstream[]
  /** @returns `undefined` where the upstream does not say */
  ask: (voter: Upstream, signal: AbortSignal) => Promise<Digest | undefined>
  signal: AbortSignal
}

/** So long the slower ones are waited for once somebody has spoken, in milliseconds. */
const WAIT_MS = 1000

/**
 * Asks all voters at once, until they have answered, more than half of them agree, or time is up and somebody has spoken.
 * Who is late then is let go.
 *
 * @returns what was said, in the order of the voters
 * @throws the signal's reason
 */
export async function gatherWords({ repository, voters, ask, signal }: GatherOptions): Promise<Word[]> {
  const ending = new AbortController()
  const either = AbortSignal.any([signal, ending.signal])
  const said: (Word | undefined)[] = voters.map(() => undefined)
  const pending = new Set(
    voters.map(async (voter, at) => {
      const digest = await opinion(voter, repository, () => ask(voter, either), ending.signal)
      if (digest !== undefined) said[at] = { upstream: voter.name, digest }
    }),
  )
  for (const each of pending) void each.then(() => pending.delete(each)).catch(() => pending.delete(each))
  const words = () => said.filter((word) => word !== undefined)
  let late = false
  const time = delay(WAIT_MS, either).then(() => {
    late = true
  })
  time.catch(() => {})
  try {
    while (pending.size > 0 && !isMajority(words(), voters.length) && !(late && words().length > 0)) {
      await Promise.race(late ? pending : [...pending, time])
    }
    signal.throwIfAborted()
    return words()
  } finally {
    ending.abort(new OutrunError('others have said what the tag is'))
  }
}

/** The digests that were named, the one that most agree on first; of equals the one that was named first. */
export function ranked(words: readonly Word[]): Digest[] {
  const votes = new Map<Digest, number>()
  for (const { digest } of words) votes.set(digest, (votes.get(digest) ?? 0) + 1)
  return [...votes].sort(([, one], [, other]) => other - one).map(([digest]) => digest)
}

async function opinion(
  voter: Upstream,
  repository: Repository,
  ask: () => Promise<Digest | undefined>,
  ended: AbortSignal,
): Promise<Digest | undefined> {
  try {
    const digest = await ask()
    voter.health.succeeded()
    return digest
  } catch (error) {
    if (error instanceof UpstreamError) voter.failed(repository, error)
    else if (!ended.aborted) throw error
    return undefined
  }
}

function isMajority(words: readonly Word[], voters: number): boolean {
  const [best] = ranked(words)
  return words.filter(({ digest }) => digest === best).length * 2 > voters
}
