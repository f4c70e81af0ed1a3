import { hashSync } from '@node-rs/bcrypt'
import { request } from 'undici'

/** The lowest cost that there is: a check takes a millisecond. */
const COST = 4

/** The text of an htpasswd file. */
export function htpasswd(passwords: Record<string, string>): string {
  return Object.entries(passwords)
    .map(([name, password]) => `${name}:${hashSync(password, COST)}\n`)
    .join('')
}

export const basic = (name: string, password: string) =>
  `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`

/** What a token service said. */
export interface TokenAnswer {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: Record<string, string | number>
  /** What is in the token. */
  claims: { sub: string; access: { type: string; name: string; actions: string[] }[]; [claim: string]: unknown }
}

/** Asks for a token as dockerd does. */
export async function askToken(
  url: string,
  scopes: string[],
  headers: Record<string, string> = {},
): Promise<TokenAnswer> {
  const query = new URLSearchParams({ service: 'entrepot' })
  for (const scope of scopes) query.append('scope', scope)
  return read(await request(`${url}/token?${query}`, { headers }))
}

/** Asks for a token as containerd does. */
export async function postToken(url: string, form: Record<string, string>): Promise<TokenAnswer> {
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  return read(await request(`${url}/token`, { method: 'POST', headers, body: new URLSearchParams(form).toString() }))
}

async function read({ statusCode, headers, body }: Awaited<ReturnType<typeof request>>): Promise<TokenAnswer> {
  const answer = (await body.json()) as Record<string, string>
  const claims = answer.token && JSON.parse(Buffer.from(answer.token.split('.')[1]!, 'base64url').toString())
  return { status: statusCode, headers, body: answer, claims }
}
