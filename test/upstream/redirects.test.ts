import { afterEach, describe, expect, test } from 'vitest'
import { Connections } from '../../src/upstream/connections.js'
import { follow } from '../../src/upstream/redirects.js'
import { closeAll, closing, startUpstream } from '../helpers/upstream.js'

afterEach(closeAll)

/** A registry that redirects to a store, which both have the blob. */
async function start() {
  const [registry, store, former] = await Promise.all([startUpstream(), startUpstream(), startUpstream()])
  const path = `/v2/x/blobs/${store.addBlob(1000)}`
  registry.fault = () => ({ kind: 'redirect', to: store.url + path })
  const timeouts = { connectMs: 5000, firstByteMs: 5000, idleMs: 5000 }
  const connections = closing(new Connections({ upstream: 'a', ownHost: '127.0.0.1', timeouts }))
  const redirect: { target?: URL | undefined } = {}
  const ask = async () => {
    const { body, status } = await follow(connections, 'a', new URL(registry.url + path), {
      method: 'GET',
      headers: {},
      authorization: 'Bearer secret',
      redirect,
      signal: undefined,
    })
    await body.dump()
    return status
  }
  return { registry, store, former, redirect, path, ask }
}

describe('where a registry has redirected to', () => {
  test('is asked first the next time, without Authorization', async () => {
    const { registry, store, ask } = await start()

    expect([await ask(), await ask()]).toEqual([200, 200])

    expect(registry.requests).toMatchObject([{ authorization: true, status: 307 }])
    expect(store.requests.map(({ authorization }) => authorization)).toEqual([false, false])
  })

  test('is forgotten as soon as it refuses, before the registry has been asked again', async () => {
    const { registry, store, former, redirect, path, ask } = await start()
    redirect.target = new URL(`${former.url}/expired`)
    const known: unknown[] = []
    registry.fault = () => {
      known.push(redirect.target)
      return { kind: 'redirect', to: store.url + path }
    }

    expect(await ask()).toBe(200)

    expect(former.requests).toMatchObject([{ status: 404, authorization: false }])
    expect(known).toEqual([undefined])
    expect(redirect.target?.origin).toBe(store.url)
  })

  test('is forgotten where the registry itself is out of reach after that', async () => {
    const { registry, former, redirect, ask } = await start()
    redirect.target = new URL(`${former.url}/expired`)
    await registry.stop()

    await expect(ask()).rejects.toMatchObject({ kind: 'down' })

    expect(redirect.target).toBeUndefined()
  })

  test('stays where another answer has told it meanwhile', async () => {
    const { registry, store, former, redirect, path, ask } = await start()
    redirect.target = new URL(`${former.url}/expired`)
    const renewed = new URL(store.url + path)
    former.fault = () => {
      redirect.target = renewed
      return { kind: 'status', status: 403 }
    }
    const known: unknown[] = []
    registry.fault = () => {
      known.push(redirect.target)
      return { kind: 'redirect', to: renewed.href }
    }

    expect(await ask()).toBe(200)

    expect(known).toEqual([renewed])
  })
})
