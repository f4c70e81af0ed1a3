import { request } from 'undici'
import { afterEach, describe, expect, test } from 'vitest'
import { registry, startMirror } from '../helpers/mirror.js'
import { closeAll, startUpstream } from '../helpers/upstream.js'

describe('a push to a local namespace', () => {
  afterEach(closeAll)

  async function push(auth: Record<string, unknown> | undefined, headers: Record<string, string>) {
    const hub = await startUpstream()
    const mirror = await startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]) },
      settings: auth ? { auth } : {},
    })
    const { statusCode, body } = await request(`${mirror.url}/v2/local/app/blobs/uploads/`, { method: 'POST', headers })
    const text = await body.text()
    return { status: statusCode, text, asked: hub.asked }
  }

  test.each([
    ['without auth, from loopback', undefined, {}, 202],
    ['without auth, forwarded by a proxy on this machine', undefined, { 'x-forwarded-for': '192.0.2.1' }, 403],
    ['without auth, forwarded as RFC 7239 says', undefined, { forwarded: 'for=192.0.2.1' }, 403],
    ['with anonymous pull alone, from loopback', { anonymous: ['pull'] }, {}, 403],
    ['with anonymous push, from anywhere', { anonymous: ['pull', 'push'] }, { 'x-forwarded-for': '192.0.2.1' }, 202],
  ])('%s: %s', async (_case, auth, headers, status) => {
    const pushed = await push(auth, headers as Record<string, string>)

    expect(pushed.status).toBe(status)
    expect(pushed.asked).toEqual([])
    if (status === 403) {
      expect(JSON.parse(pushed.text)).toMatchObject({
        errors: [{ code: 'DENIED', message: expect.stringContaining('auth: { anonymous: [pull, push] }') }],
      })
    }
  })
})
