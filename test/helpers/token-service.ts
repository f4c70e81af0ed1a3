import { createPrivateKey, randomUUID, sign, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { run } from './process.js'

export const PUSHER = { name: 'builder', password: 'upstream-secret' }

const ISSUER = 'test token service'
const SERVICE = 'test upstreams'

interface TokenAnswer {
  token: string
  access_token: string
  /** Seconds. */
  expires_in: number
  issued_at: string
}

/**
 * The token service of the upstream registries (Docker registry v2 authentication): pull tokens for anybody, push only for
 * `PUSHER`. Tokens are JWTs signed by ES256 with the certificate in the header (`x5c`), as docker-registry 2.8 verifies them.
 */
export class TokenService {
  /** Scopes asked for, in order. */
  readonly asked: string[] = []
  /** Where registries that start from now on send their clients: here, or what stands in front of it. */
  realm = ''
  /** What is sent for an answer. */
  shape: (answer: TokenAnswer) => object = (answer) => answer
  /** Whether only `PUSHER` gets pull tokens. */
  closed = false
  readonly #server: Server
  readonly #folder: string
  readonly #address: string

  private constructor(folder: string, address: string) {
    this.#folder = folder
    this.#address = address
    this.#server = createServer((request, response) => {
      const body = JSON.stringify(this.shape(this.#answer(request)))
      response.writeHead(200, { 'content-type': 'application/json' }).end(body)
    })
  }

  /**
   * @param folder where its key and certificate are written
   * @param address where it listens, on a free port
   */
  static async start(folder: string, address: string): Promise<TokenService> {
    const service = new TokenService(folder, address)
    await run('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
      ...['-subj', '/CN=test token service', '-keyout', service.#file('key'), '-out', service.#file('crt')],
    ])
    service.#server.listen(0, address)
    await once(service.#server, 'listening')
    service.realm = `${service.url}/token`
    return service
  }

  /** The `auth.token` section of docker-registry's configuration, as JSON (which is YAML). */
  get registryAuth(): string {
    const { realm } = this
    return JSON.stringify({ token: { realm, service: SERVICE, issuer: ISSUER, rootcertbundle: this.#file('crt') } })
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo
    return `http://${this.#address}:${port}`
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #answer(request: IncomingMessage): TokenAnswer {
    const scopes = new URL(request.url ?? '/', 'http://token.test').searchParams.getAll('scope')
    this.asked.push(...scopes)
    const granted = isPusher(request.headers.authorization) ? ['pull', 'push', 'delete'] : this.closed ? [] : ['pull']
    const token = this.#sign(scopes.map((scope) => grant(scope, granted)))
    return { token, access_token: token, expires_in: 300, issued_at: new Date().toISOString() }
  }

  #sign(access: object[]): string {
    const certificate = new X509Certificate(readFileSync(this.#file('crt')))
    const seconds = Math.floor(Date.now() / 1000)
    const claims = {
      iss: ISSUER,
      aud: SERVICE,
      sub: '',
      jti: randomUUID(),
      iat: seconds,
      nbf: seconds - 10,
      exp: seconds + 300,
    }
    const header = { typ: 'JWT', alg: 'ES256', x5c: [certificate.raw.toString('base64')] }
    const signed = `${base64url(header)}.${base64url({ ...claims, access })}`
    const key = createPrivateKey(readFileSync(this.#file('key')))
    const signature = sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' })
    return `${signed}.${signature.toString('base64url')}`
  }

  #file(extension: 'key' | 'crt'): string {
    return join(this.#folder, `token.${extension}`)
  }
}

/** `repository:library/hello:pull,push` with only the actions that are granted. */
function grant(scope: string, granted: string[]) {
  const [type, name, actions = ''] = scope.split(':')
  return { type, name, actions: actions.split(',').filter((action) => granted.includes(action)) }
}

function isPusher(authorization: string | undefined): boolean {
  const expected = `Basic ${Buffer.from(`${PUSHER.name}:${PUSHER.password}`).toString('base64')}`
  return authorization === expected
}

function base64url(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
