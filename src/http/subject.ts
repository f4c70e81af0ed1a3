import type { FastifyRequest } from 'fastify'
import type { Credential, Subject } from '../auth/access-policy.js'
import { clientOf, type Origin } from '../auth/attempts.js'
import type { Login } from '../auth/login.js'
import { isInternalAddress, isLoopbackHost } from '../lib/hosts.js'

/** What a reverse proxy adds, each of them by some. */
const OF_PROXIES = ['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-real-ip', 'via']
/** What browsers add to what the script or form of a page asks, be it of a name that leads here (DNS rebinding). */
const OF_PAGES = ['origin', 'sec-fetch-site']
const OF_OTHERS = [...OF_PROXIES, ...OF_PAGES]

/**
 * A reverse proxy on this machine speaks for others, and so does a browser that shows the page of another site: what they
 * ask does not count as coming from loopback. No client of registries sends what tells them.
 */
export class RequestSubject implements Subject {
  user?: string | undefined
  credential?: Credential | undefined
  readonly #request: FastifyRequest

  constructor(request: FastifyRequest) {
    this.#request = request
  }

  /** Found out when it is asked for: a pull of what is for everybody never does. */
  get loopback(): boolean {
    const { headers, raw } = this.#request
    return OF_OTHERS.every((name) => headers[name] === undefined) && isLoopbackHost(raw.socket.remoteAddress ?? '')
  }
}

/**
 * Who is asking, by the request's Authorization as well; noted for the access log.
 *
 * @param spare that everybody may do what is asked (`Login.identify`)
 */
export async function identify(request: FastifyRequest, login: Login | undefined, spare: boolean): Promise<Subject> {
  const subject = new RequestSubject(request)
  if (!login) return subject
  const identity = await login.identify(request.headers.authorization, originOf(request), spare)
  request.facts.user = identity.user
  return Object.assign(subject, identity)
}

/** Whence a password comes. Of whom a proxy speaks for, it has written the last one itself; only what is near can be our proxy. */
export function originOf({ raw }: FastifyRequest): Origin {
  const address = raw.socket.remoteAddress ?? ''
  const forwarded = withoutPort(
    String(raw.headers['x-forwarded-for'] ?? '')
      .split(',')
      .at(-1)!
      .trim(),
  )
  return { address, forwardedFor: forwarded && speaksForOthers(raw.socket) ? forwarded.slice(0, 64) : undefined }
}

/** Some proxies write the port that the client had, another one for each connection: `192.0.2.1:5678`, `[2001:db8::1]:5678`. */
function withoutPort(entry: string): string {
  const [, bracketed, single] = /^(?:\[([^\]]+)\]|([^:]+))(?::\d*)?$/.exec(entry) ?? []
  return bracketed ?? single ?? entry
}

/** Who counts as one client, for what each may have only so much of: the user of a request let in, or else whence it comes. */
export function accountOf(request: FastifyRequest): string {
  const { user } = request.facts
  return user === undefined ? clientOf(originOf(request)) : `user:${user}`
}

/** Whether the other end of a connection can be a reverse proxy of ours: it has an address of this machine or network. */
export function speaksForOthers({ remoteAddress = '' }: { remoteAddress?: string | undefined }): boolean {
  const address = remoteAddress.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '')
  return address !== '' && isInternalAddress(address)
}
