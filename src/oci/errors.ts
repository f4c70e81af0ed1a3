/**
 * Every code a client can see, with the status it answers. The first fourteen are the specification's
 * (Error Codes, code-1 to code-14); the last two are for 5xx answers, whose codes it leaves open.
 */
const STATUS = {
  BLOB_UNKNOWN: 404,
  BLOB_UPLOAD_INVALID: 400,
  BLOB_UPLOAD_UNKNOWN: 404,
  DIGEST_INVALID: 400,
  MANIFEST_BLOB_UNKNOWN: 400,
  MANIFEST_INVALID: 400,
  MANIFEST_UNKNOWN: 404,
  NAME_INVALID: 400,
  NAME_UNKNOWN: 404,
  SIZE_INVALID: 400,
  UNAUTHORIZED: 401,
  DENIED: 403,
  UNSUPPORTED: 405,
  TOOMANYREQUESTS: 429,
  UNAVAILABLE: 503,
  UNKNOWN: 500,
} as const

export type OciErrorCode = keyof typeof STATUS

export interface OciErrorOptions {
  /** Shown to the client; must hold no secret and no path of this machine. */
  detail?: unknown
  /** Logged, never shown. */
  cause?: unknown
  /** Overrides the code's status, e.g. 416 for a bad chunk. */
  status?: number
  /** Extra response headers, e.g. `retry-after`. */
  headers?: Record<string, string>
}

/** A failure that the client is told about in the specification's error body. */
export class OciError extends Error {
  override readonly name = 'OciError'
  readonly status: number
  readonly detail: unknown
  readonly headers: Record<string, string>

  constructor(
    readonly code: OciErrorCode,
    message: string,
    { detail, cause, status, headers }: OciErrorOptions = {},
  ) {
    super(message, { cause })
    this.status = status ?? STATUS[code]
    this.detail = detail
    this.headers = headers ?? {}
  }

  toJSON() {
    const { code, message, detail } = this
    return { errors: [detail === undefined ? { code, message } : { code, message, detail }] }
  }
}

/** Whether an answer is that there is no such thing, and not that it could not be found out. */
export function isAbsence(error: unknown): boolean {
  return error instanceof OciError && error.status === 404
}
