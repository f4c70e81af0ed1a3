import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { type BuiltInUpstream, type Fault, startUpstream } from '../../src/doctor/built-in-upstream.js'

/** One upstream of a bench. */
export interface Shape {
  /** Of each connection, as a token bucket without a burst. */
  bytesPerSecond?: number
  /** Before each answer. */
  ttfbMs?: number
  /** How every request is answered wrongly. */
  fault?: Fault
  /** Nobody listens. */
  dead?: boolean
}

/** What the parent asks for. */
type Order = { kind: 'bytes' } | { kind: 'requests' } | { kind: 'reshape'; upstream: number; shape: Shape }

export interface Wanted {
  shapes: Shape[]
  /** The same images at each: so many, of one layer of so many bytes. */
  images: number
  layerBytes: number
}

/** What the process with the upstreams tells. */
export interface Ready {
  urls: string[]
  /** In repository `library/bench`, tags `v0`, `v1`... */
  images: { manifest: string; layer: string }[]
}

export const REPOSITORY = 'library/bench'

/** Upstreams in a process of their own, so that they do not share an event loop with who is measured. */
export class ShapedUpstreams implements Ready {
  readonly urls: string[]
  readonly images: Ready['images']
  readonly #child: ReturnType<typeof fork>

  private constructor(child: ReturnType<typeof fork>, { urls, images }: Ready) {
    this.#child = child
    this.urls = urls
    this.images = images
  }

  static async start(wanted: Wanted): Promise<ShapedUpstreams> {
    const child = fork(fileURLToPath(import.meta.url), [JSON.stringify(wanted)], { execArgv: ['--import', 'tsx'] })
    const [ready] = (await once(child, 'message')) as [Ready]
    return new ShapedUpstreams(child, ready)
  }

  /** Bytes of bodies that each has sent. */
  bytesSent(): Promise<number[]> {
    return this.#order({ kind: 'bytes' })
  }

  /** Requests that each has had. */
  requests(): Promise<number[]> {
    return this.#order({ kind: 'requests' })
  }

  async reshape(upstream: number, shape: Shape): Promise<void> {
    await this.#order({ kind: 'reshape', upstream, shape })
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.#child.kill()
    await ended
  }

  /** One at a time. */
  async #order(order: Order): Promise<number[]> {
    this.#child.send(order)
    const [answer] = (await once(this.#child, 'message')) as [number[]]
    return answer
  }
}

async function serve({ shapes, images, layerBytes }: Wanted): Promise<void> {
  const upstreams = await Promise.all(shapes.map(() => startUpstream()))
  const made: Ready['images'] = []
  for (let n = 0; n < images; n++) {
    const layer = randomBytes(layerBytes)
    for (const upstream of upstreams) {
      const image = upstream.addImage(REPOSITORY, `v${n}`, { layers: [layer] })
      made[n] = { manifest: image.manifest, layer: image.layers[0]! }
    }
  }
  for (const [n, upstream] of upstreams.entries()) await reshape(upstream, shapes[n]!)
  process.on('message', async (order: Order) => {
    if (order.kind === 'reshape') await reshape(upstreams[order.upstream]!, order.shape)
    process.send!(upstreams.map(({ bytesSent, requests }) => (order.kind === 'bytes' ? bytesSent : requests.length)))
  })
  process.send!({ urls: upstreams.map(({ url }) => url), images: made } satisfies Ready)
}

async function reshape(upstream: BuiltInUpstream, { bytesPerSecond, ttfbMs, fault, dead }: Shape): Promise<void> {
  upstream.bytesPerSecond = bytesPerSecond
  const delay: Fault | undefined = ttfbMs ? { kind: 'delay', ms: ttfbMs } : undefined
  upstream.fault = () => fault ?? delay
  await upstream.stop()
  if (!dead) await upstream.start()
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await serve(JSON.parse(process.argv[2]!) as Wanted)
