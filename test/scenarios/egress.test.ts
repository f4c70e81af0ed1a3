import { afterEach, expect, test } from 'vitest'
import { registry, startMirror } from '../helpers/mirror.js'
import { startConnectProxy } from '../helpers/proxies.js'
import { closeAll, startUpstream } from '../helpers/upstream.js'

afterEach(closeAll)

test('the way out that holds for all is taken by every upstream that names no other', async () => {
  const far = await startUpstream()
  const near = await startUpstream()
  const digest = near.addBlob(1000)
  const [proxy, own] = [await startConnectProxy(), await startConnectProxy()]
  const mirror = await startMirror({
    registries: {
      'docker.io': registry([
        { name: 'far', url: `http://far.test:${far.port}`, role: 'origin' },
        { name: 'near', url: `http://near.test:${near.port}`, proxy: `http://127.0.0.1:${own.port}` },
      ]),
    },
    settings: { upstream: { proxy: `http://127.0.0.1:${proxy.port}` } },
  })

  const got = await mirror.blob('library/app', digest)

  expect([got.status, got.digest]).toEqual([200, digest])
  expect(new Set(proxy.asked)).toEqual(new Set([`far.test:${far.port}`]))
  expect(new Set(own.asked)).toEqual(new Set([`near.test:${near.port}`]))
})
