import { PassThrough } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { Collector } from '../../gc/collector.js'
import { OciError } from '../../oci/errors.js'
import { type AdminAccess, checkAdmin } from './check-admin.js'

/** A client that reads nothing for so long is not told the rest: the run waits for nobody. */
const PATIENCE_MS = 10_000

export interface GcServices extends AdminAccess {
  collector: Pick<Collector, 'busy' | 'collect'>
}

/**
 * `POST /api/v1/gc`, with `?dryRun=true` to have it change nothing: a JSON value a line (application/x-ndjson), each thing that
 * goes as it is found, the report of the run at the end. The run goes on when the client leaves.
 */
export function registerGc(app: FastifyInstance, services: GcServices): void {
  app.post<{ Querystring: { dryRun?: string } }>('/api/v1/gc', async (request, reply) => {
    await checkAdmin(services, request)
    const dryRun = parseFlag(request.query.dryRun)
    const { collector } = services
    if (collector.busy) {
      throw new OciError('UNAVAILABLE', 'a garbage collection is running: ask again when it has ended', { status: 409 })
    }
    const lines = new Lines()
    const running = collector.collect({ dryRun, onFound: (finding) => lines.write({ found: finding }) })
    running.then(
      (report) => lines.end({ report }),
      (error: Error) => lines.fail(error),
    )
    return reply.type('application/x-ndjson').send(lines.stream)
  })
}

/** @throws {OciError} 400 */
function parseFlag(text: string | undefined): boolean {
  if (text === undefined || text === 'false') return false
  if (text === 'true' || text === '') return true
  throw new OciError('UNSUPPORTED', 'dryRun is true or false', { status: 400 })
}

/** JSON values on their way to one client, no more of them in memory than the stream buffers. */
class Lines {
  readonly stream = new PassThrough()
  /** While it is full. */
  #draining: Promise<void> | undefined

  constructor() {
    // The client has left: there is nobody to tell.
    this.stream.on('error', () => {})
  }

  /** Resolves when there is room for more, or nobody to read it. */
  async write(value: object): Promise<void> {
    if (this.stream.destroyed || this.stream.write(`${JSON.stringify(value)}\n`)) return
    this.#draining ??= this.#drained().finally(() => {
      this.#draining = undefined
    })
    await this.#draining
  }

  end(value: object): void {
    if (!this.stream.destroyed) this.stream.end(`${JSON.stringify(value)}\n`)
  }

  fail(error: Error): void {
    this.stream.destroy(error)
  }

  #drained(): Promise<void> {
    const { stream } = this
    return new Promise((resolve) => {
      const patience = setTimeout(() => stream.destroy(), PATIENCE_MS)
      const done = () => {
        clearTimeout(patience)
        stream.off('drain', done).off('close', done)
        resolve()
      }
      stream.on('drain', done).on('close', done)
    })
  }
}
