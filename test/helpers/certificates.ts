import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { isIPv4 } from 'node:net'

/** PEM of both. */
export interface Certified {
  cert: string
  key: string
}

/** A certificate authority of a test's own, with a day to live. */
export class Authority {
  readonly cert: string
  readonly #name = `Test authority ${randomBytes(4).toString('hex')}`
  readonly #key: KeyObject

  constructor() {
    const { publicKey, privateKey } = pair()
    this.#key = privateKey
    this.cert = certificate({
      subject: this.#name,
      issuer: this.#name,
      publicKey,
      signer: privateKey,
      extension: IS_CA,
    })
  }

  /** @param hosts names and IPv4 addresses; the first is the subject */
  issue(...hosts: string[]): Certified {
    return this.#issue(hosts, Date.now() + DAY_MS)
  }

  /** One whose time is over since an hour. */
  issueExpired(...hosts: string[]): Certified {
    return this.#issue(hosts, Date.now() - HOUR_MS)
  }

  #issue(hosts: string[], until: number): Certified {
    const { publicKey, privateKey } = pair()
    const extension = alternativeNames(hosts)
    const cert = certificate({ subject: hosts[0]!, issuer: this.#name, publicKey, signer: this.#key, extension, until })
    return { cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
  }
}

interface Facts {
  subject: string
  issuer: string
  publicKey: KeyObject
  signer: KeyObject
  extension: Buffer
  /** ms since the epoch; a day from now when left out */
  until?: number
}

const SEQUENCE = 0x30
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const ECDSA_WITH_SHA256 = tlv(SEQUENCE, oid('2a8648ce3d040302'))
/** basicConstraints, critical: cA true. */
const IS_CA = tlv(SEQUENCE, oid('551d13'), tlv(1, [0xff]), tlv(4, tlv(SEQUENCE, tlv(1, [0xff]))))

function pair() {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' })
}

/** RFC 5280, section 4.1, version 3. */
function certificate({ subject, issuer, publicKey, signer, extension, until = Date.now() + DAY_MS }: Facts): string {
  const body = tlv(
    SEQUENCE,
    tlv(0xa0, tlv(2, [2])),
    tlv(2, [1], randomBytes(8)),
    ECDSA_WITH_SHA256,
    named(issuer),
    tlv(SEQUENCE, time(Date.now() - DAY_MS), time(until)),
    named(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    tlv(0xa3, tlv(SEQUENCE, extension)),
  )
  const whole = tlv(SEQUENCE, body, ECDSA_WITH_SHA256, tlv(3, [0], sign('sha256', body, signer)))
  const lines = whole.toString('base64').match(/.{1,64}/g)!
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

function alternativeNames(hosts: string[]): Buffer {
  const names = hosts.map((host) =>
    isIPv4(host) ? tlv(0x87, host.split('.').map(Number)) : tlv(0x82, Buffer.from(host)),
  )
  return tlv(SEQUENCE, oid('551d11'), tlv(4, tlv(SEQUENCE, ...names)))
}

function named(commonName: string): Buffer {
  return tlv(SEQUENCE, tlv(0x31, tlv(SEQUENCE, oid('550403'), tlv(0x0c, Buffer.from(commonName)))))
}

/** UTCTime. */
function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replaceAll(/[-:T]/g, '').slice(2, 14)
  return tlv(0x17, Buffer.from(`${digits}Z`))
}

function oid(hex: string): Buffer {
  return tlv(6, Buffer.from(hex, 'hex'))
}

function tlv(tag: number, ...contents: (Buffer | number[])[]): Buffer {
  const content = Buffer.concat(contents.map((each) => Buffer.from(each)))
  const { length } = content
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}
