import pino from 'pino'
import {
  type BuiltInUpstream,
  type BuiltInUpstreamOptions,
  startUpstream as start,
} from '../../src/doctor/built-in-upstream.js'
import { EventBus, type Events } from '../../src/events.js'
import { type Digest, digestFrom, hasherFor } from '../../src/oci/digest.js'
import { parseRepository, type Repository } from '../../src/oci/reference.js'
import type { Lookup } from '../../src/upstream/name-lookup.js'
import { RegistryClient, type UpstreamOptions } from '../../src/upstream/registry-client.js'
import { createUpstreamGroup, type UpstreamGroup } from '../../src/upstream/upstream-group.js'

export type { BuiltInUpstream, Fault } from '../../src/doctor/built-in-upstream.js'

export const REPOSITORY = parseRepository('library/app')

/** Short limits, so that silence is noticed within a test. */
const TIMEOUTS = { connectMs: 500, firstByteMs: 300, idleMs: 300 }

/** What a test opened, closed in reverse order by `closeAll`. */
const opened: { close(): Promise<unknown> }[] = []

/** For afterEach. */
export async function closeAll(): Promise<void> {
  for (const part of opened.splice(0).reverse()) await part.close()
}

export function closing<Part extends { close(): Promise<unknown> }>(part: Part): Part {
  opened.push(part)
  return part
}

/** A built-in upstream that `closeAll` closes. */
export async function startUpstream(options: BuiltInUpstreamOptions = {}): Promise<BuiltInUpstream> {
  return closing(await start(options))
}

/** Lines of the log, as objects, and the events that were emitted. */
export class Watch {
  readonly lines: Record<string, unknown>[] = []
  readonly heard: { [Name in keyof Events]: { name: Name; event: Events[Name] } }[keyof Events][] = []
  readonly log = pino({ level: 'debug' }, { write: (line: string) => void this.lines.push(JSON.parse(line)) })
  readonly events = new EventBus({
    onListenerError: (error) => {
      throw error
    },
  })

  constructor() {
    for (const name of ['upstream.answered', 'upstream.received', 'upstream.failed', 'upstream.state'] as const) {
      this.events.on(name, (event) => void this.heard.push({ name, event } as (typeof this.heard)[number]))
    }
  }

  /** The states told, in order. */
  get states(): string[] {
    return this.heard.flatMap(({ name, event }) =>
      name === 'upstream.state' ? [`${event.upstream} ${event.state}`] : [],
    )
  }
}

export function upstreamOptions(url: string, options: Partial<UpstreamOptions> = {}): UpstreamOptions {
  return {
    registry: 'docker.io',
    name: 'hub',
    url,
    role: 'origin',
    resolve: 'fallback',
    allow: [],
    timeouts: TIMEOUTS,
    ...options,
  }
}

export function clientOf(
  url: string,
  options: Partial<UpstreamOptions> = {},
  { watch = new Watch(), now = Date.now, lookup }: { watch?: Watch; now?: () => number; lookup?: Lookup } = {},
): RegistryClient {
  const { events, log } = watch
  return closing(new RegistryClient({ options: upstreamOptions(url, options), events, log, now, lookup }))
}

export function groupOf(
  upstreams: readonly UpstreamOptions[],
  { watch = new Watch(), now = Date.now }: { watch?: Watch; now?: () => number } = {},
): UpstreamGroup {
  const { events, log } = watch
  return closing(createUpstreamGroup({ registry: 'docker.io', upstreams, events, log, now }))
}

/** Reads a stream to its end. */
export async function digestOfBody(body: AsyncIterable<Buffer>, like: Digest): Promise<Digest> {
  const hash = hasherFor(like)
  for await (const chunk of body) hash.update(chunk)
  return digestFrom(hash)
}

export function inRepository(name: string): Repository {
  return parseRepository(name)
}
