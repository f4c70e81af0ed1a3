import { randomBytes } from 'node:crypto'
import { digestOf } from '../oci/digest.js'
import { CheckError, RegistryCheck } from './client.js'
import type { Plan } from './plan.js'

const CONTENT_BYTES = 1024 * 1024
const REPOSITORY = 'local/entrepot-doctor'

/** What a running server can be asked without knowing its upstreams: alive, ready, its figures, and a push of its own. */
export function serverSteps(url: string): Plan {
  const client = new RegistryCheck(url)
  const content = randomBytes(CONTENT_BYTES)
  const digest = digestOf(content)
  return {
    close: async () => {},
    steps: [
      { name: 'alive', run: async () => JSON.stringify(await client.json('/healthz')) },
      { name: 'ready', run: async () => JSON.stringify(await client.json('/readyz')) },
      { name: 'registry API', run: async () => `/v2/ ${JSON.stringify(await client.json('/v2/'))}` },
      { name: 'statistics', run: async () => describeStats(await client.json('/stats')) },
      {
        name: 'push and pull back',
        run: async () => {
          const { manifest } = await client.push(REPOSITORY, 'doctor', content)
          const back = await client.pull(REPOSITORY, 'doctor')
          if (back.manifest !== manifest) throw new CheckError(`pushed ${manifest}, got ${back.manifest} back`)
          return `${manifest}, first byte ${Math.round(back.firstByteMs)} ms`
        },
      },
      {
        name: 'ranged read',
        run: async () => {
          const body = await client.read(`/v2/${REPOSITORY}/blobs/${digest}`, digest, { range: 'bytes=1000-1999' })
          if (body.status !== 206 || body.digest !== digestOf(content.subarray(1000, 2000))) {
            throw new CheckError(`status ${body.status}, ${body.bytes} bytes, ${body.digest}`)
          }
          return String(body.headers['content-range'])
        },
      },
      {
        name: 'deletion',
        run: async () => {
          const { manifest } = await client.pull(REPOSITORY, 'doctor')
          await client.delete(REPOSITORY, manifest)
          return manifest
        },
      },
    ],
  }
}

interface Stats {
  requests: { total: number }
  hitRatio: number
  cache: { sizeBytes: number; maxSizeBytes: number }
  upstreams: { registry: string; name: string; state: string }[]
}

function describeStats(stats: unknown): string {
  const { requests, hitRatio, cache, upstreams } = stats as Stats
  const states = upstreams.map(({ registry, name, state }) => `${registry}/${name} ${state}`).join(', ')
  return `${requests.total} requests, hit ratio ${hitRatio.toFixed(2)}, ${cache.sizeBytes} of ${cache.maxSizeBytes} bytes; ${states}`
}
