import type { AddressGuard } from './address-guard.js'
import type { Answer, Connections, Sending } from './connections.js'
import { UpstreamError } from './errors.js'
import { header } from './headers.js'
import type { KnownRedirect } from './upstream-options.js'

export interface Following extends Sending {
  /** Sent to the first URL's origin only, and never again once the way has left it. */
  authorization?: string | undefined
  /** Where the last such request ended is asked first, as long as it answers; kept up to date. */
  redirect?: KnownRedirect | undefined
}

/** The answer at the end of a chain of redirects; its `ttfbMs` is the sum of the whole way. */
export interface Followed extends Answer {
  /** Whether it came from another origin than the one that was asked. */
  elsewhere: boolean
}

const HOPS_LIMIT = 5
const REDIRECTS = new Set([301, 302, 303, 307, 308])

/**
 * Asks `url` and follows where it is sent: at most 5 hops, never from https to http, never inside where
 * the upstream may not send us (address-guard.ts).
 * Signed URLs are neither kept nor named in failures: those give origin and status alone.
 *
 * @throws {UpstreamError} `down`, `slow`, or `lying` for a redirect that must not be followed
 */
export async function follow(
  connections: Connections,
  upstream: string,
  url: URL,
  { redirect, ...following }: Following,
): Promise<Followed> {
  const remembered = redirect?.target
  const known = remembered && (await shortcut(connections, upstream, remembered, following))
  if (known) return known
  // At once, so that nobody else is sent there meanwhile; another one may be known by now.
  if (redirect && redirect.target === remembered) redirect.target = undefined
  const { at, ...followed } = await wholeWay(connections, upstream, url, following)
  if (redirect) redirect.target = followed.elsewhere ? at : undefined
  return followed
}

/** A signature that has expired, or a store that is gone, is told by the registry itself: it is asked again. */
async function shortcut(
  connections: Connections,
  upstream: string,
  target: URL,
  { authorization: _, ...sending }: Following,
): Promise<Followed | undefined> {
  try {
    const answer = await sendTo(connections, upstream, target, sending, true)
    if (answer.status === 200 || answer.status === 206) return { ...answer, elsewhere: true }
    discard(answer)
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error
  }
  return undefined
}

async function wholeWay(
  connections: Connections,
  upstream: string,
  url: URL,
  { authorization, headers, ...sending }: Following,
): Promise<Followed & { at: URL }> {
  let at = url
  let trusted = true
  let ttfbMs = 0
  for (let hops = 0; ; hops++) {
    const sent = trusted && authorization !== undefined ? { ...headers, authorization } : headers
    const answer = await sendTo(connections, upstream, at, { ...sending, headers: sent }, !trusted)
    ttfbMs += answer.ttfbMs
    if (!REDIRECTS.has(answer.status)) return { ...answer, ttfbMs, elsewhere: !trusted, at }
    discard(answer)
    if (hops === HOPS_LIMIT) throw new UpstreamError('lying', `more than ${HOPS_LIMIT} redirects`, { upstream })
    const next = target({ from: at, location: header(answer.headers, 'location'), upstream, guard: connections.guard })
    trusted &&= next.origin === url.origin
    at = next
  }
}

/** Lets an unread body go: a short one is read to its end so that the connection can be used again. */
export function discard({ body }: Answer): void {
  // what a broken connection does to a body that nobody wants is of no interest
  body.dump({ limit: 64 * 1024 }).catch(() => undefined)
}

/** A redirect's target out of reach says nothing of whether the upstream itself can be reached. */
async function sendTo(
  connections: Connections,
  upstream: string,
  at: URL,
  sending: Sending,
  elsewhere: boolean,
): Promise<Answer> {
  try {
    return await connections.send(at, sending)
  } catch (error) {
    if (!elsewhere || !(error instanceof UpstreamError)) throw error
    throw new UpstreamError(error.kind, `redirected to ${at.origin}: ${error.message}`, { upstream, cause: error })
  }
}

interface Redirect {
  from: URL
  location: string | undefined
  upstream: string
  guard: AddressGuard
}

function target({ from, location, upstream, guard }: Redirect): URL {
  const next = location !== undefined && URL.canParse(location, from.href) ? new URL(location, from) : undefined
  if (!next) throw new UpstreamError('lying', `a redirect from ${from.origin} to nowhere`, { upstream })
  const refused = (why: string) =>
    new UpstreamError('lying', `a redirect from ${from.origin} to ${next.origin} is not followed: ${why}`, { upstream })
  if (next.protocol !== 'https:' && next.protocol !== 'http:') throw refused('no http')
  if (from.protocol === 'https:' && next.protocol === 'http:') throw refused('it leaves https')
  if (guard.forbids(next.hostname)) throw refused('it leads inside, and allowInternal is not set')
  return next
}
