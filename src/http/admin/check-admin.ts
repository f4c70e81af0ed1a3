import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyRequest } from 'fastify'
import type { Subject } from '../../auth/access-policy.js'
import type { Login } from '../../auth/login.js'
import { OciError } from '../../oci/errors.js'
import { identify } from '../subject.js'

export interface AdminAccess {
  /** The policy that holds now. `checkAdmin` throws {OciError}. */
  policy: () => { checkAdmin(subject: Subject): void }
  /** Left out: nobody has a name. */
  login?: Login
}

/**
 * Whether a request may run the server. A page of another site, open in the browser of somebody who may, is not taken for him.
 *
 * @throws {OciError} DENIED, and whatever the policy says
 */
export async function checkAdmin({ policy, login }: AdminAccess, request: FastifyRequest): Promise<void> {
  if (isOfAnotherSite(request.headers)) {
    throw new OciError(
      'DENIED',
      "the admin API takes nothing from a page of another address in a browser (another port is one, be it on localhost): serve the page from this server's address, both behind one reverse proxy that passes Host on, and name its user in auth.admins",
    )
  }
  policy().checkAdmin(await identify(request, login, false))
}

/** A browser says whence a page is in one header or both, of an old one or of some requests in neither. */
function isOfAnotherSite({ origin, host, 'sec-fetch-site': site }: IncomingHttpHeaders): boolean {
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return true
  return origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host)
}
