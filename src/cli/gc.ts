import { createInterface } from 'node:readline'
import { request } from 'undici'
import { ConfigError, type LoadOptions, loadConfig } from '../config/load.js'
import { printBytes, printDuration } from '../lib/units.js'
import { adminUrl } from './admin-url.js'

export interface GcOptions extends LoadOptions {
  dryRun: boolean
  /** The server's lines as they are, instead of a text for people. */
  json: boolean
  /** Left out: that of the configuration. */
  server: string | undefined
  /** Takes the report, a line at a time, without line ends. */
  out: (line: string) => void
  /** Takes what went wrong. */
  err: (line: string) => void
}

/** What the server says of one thing; see the admin API. */
interface Found {
  kind: string
  repository?: string
  tag?: string
  digest: string
  bytes?: number
  why: string
}

interface Report {
  durationMs: number
  found: Record<string, number>
  freedBytes: number
  damaged: number
  failed: number
  failure?: string
}

/**
 * `entrepot gc`: has a running server collect its garbage, or say what it would collect.
 *
 * @returns the exit code: 0 done, 1 failed, 2 for a `server` that is no URL
 */
export async function gc(options: GcOptions): Promise<number> {
  const { dryRun, json, err } = options
  try {
    const server = options.server ?? adminUrl(loadConfig(options).config)
    if (!URL.canParse(server) || !/^https?:$/.test(new URL(server).protocol)) {
      err(`entrepot: ${JSON.stringify(server)} is no server: write http://host:port`)
      return 2
    }
    const report = await collect(new URL(`/api/v1/gc?dryRun=${dryRun}`, server), options)
    if (!json) for (const line of summary(report, dryRun)) options.out(line)
    if (report.failure === undefined) return 0
    err(`entrepot: the run ended early: ${report.failure}; the server's log says more, the next run goes on`)
    return 1
  } catch (error) {
    if (error instanceof ConfigError) err(error.message)
    else if (error instanceof GcFailure) err(`entrepot: ${error.message}`)
    else throw error
    return 1
  }
}

/** The server could not be asked or refused; the message says what to do. */
class GcFailure extends Error {
  override readonly name = 'GcFailure'
}

async function collect(url: URL, { json, out }: GcOptions): Promise<Report> {
  try {
    // A large store takes its time between two things that are found.
    const { statusCode, body } = await request(url, { method: 'POST', headers: credentialsOf(url), bodyTimeout: 0 })
    if (statusCode !== 200) throw new GcFailure(`the server refuses (${statusCode}): ${refusal(await body.text())}`)
    const printer = new Printer(out)
    for await (const line of createInterface({ input: body })) {
      if (json) out(line)
      const { found, report } = JSON.parse(line) as { found?: Found; report?: Report }
      if (report) return report
      if (found && !json) printer.print(found)
    }
    throw new GcFailure('the server broke off before the end: it may have been stopped; the next run goes on')
  } catch (error) {
    if (error instanceof GcFailure) throw error
    const { message } = error as Error
    throw new GcFailure(`no answer from ${url.origin}: ${message}; is the server running there?`, { cause: error })
  }
}

/** As `http://user:password@host` says, for a server with `auth.admins`. */
function credentialsOf({ username, password }: URL): Record<string, string> {
  if (username === '') return {}
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` }
}

function refusal(text: string): string {
  try {
    return (JSON.parse(text) as { errors: { message: string }[] }).errors[0]!.message
  } catch {
    return 'it does not answer as entrepot does'
  }
}

/** What is found of one repository comes together; what belongs to none comes last. */
class Printer {
  #repository: string | undefined
  #printed = false

  constructor(private readonly out: (line: string) => void) {}

  print({ kind, repository, tag, digest, bytes, why }: Found): void {
    if (!this.#printed || repository !== this.#repository) this.out(repository ?? 'on disk')
    this.#printed = true
    this.#repository = repository
    const size = bytes === undefined ? '' : printBytes(bytes)
    this.out(`  ${kind.padEnd(8)}  ${size.padStart(9)}  ${tag ?? digest}  ${why}`)
  }
}

function summary({ found, freedBytes, damaged, failed, durationMs }: Report, dryRun: boolean): string[] {
  const counts = Object.entries(found)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${count} ${NAMES[kind] ?? kind}`)
  const what = counts.length === 0 ? 'nothing to collect' : counts.join(', ')
  const verb = dryRun ? 'would be freed' : 'freed'
  const lines = [`${what}; ${printBytes(freedBytes)} ${verb}, in ${printDuration(durationMs)}`]
  if (damaged > 0)
    lines.push(`${damaged} damaged manifests and tags, whose repositories were left alone: the server's log names them`)
  if (failed > 0) lines.push(`${failed} repositories could not be gone through: the server's log says why`)
  return lines
}

const NAMES: Record<string, string> = {
  tag: 'tags',
  manifest: 'manifests',
  blob: 'links to blobs',
  referrer: 'entries of referrers',
  content: 'files',
  row: 'entries of the index',
}
