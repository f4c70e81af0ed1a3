import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MemorySource } from '../helpers/memory-source.js'
import { type Served, serve } from './serve.js'

let served: Served
beforeEach(async () => {
  served = await serve({ source: new MemorySource() })
})
afterEach(() => served.close())

const get = (path: string) => fetch(served.url + path)

test('/healthz says that it lives', async () => {
  const response = await get('/healthz')

  expect([response.status, await response.json()]).toEqual([200, { status: 'ok' }])
})

test('/readyz says why it cannot answer', async () => {
  expect((await get('/readyz')).status).toBe(200)

  served.setUnready('the server is stopping')
  const response = await get('/readyz')

  expect([response.status, await response.json()]).toEqual([
    503,
    { status: 'not ready', reason: 'the server is stopping' },
  ])
})

describe('/stats', () => {
  test.each([
    ['', undefined],
    ['?window=1h', 3_600_000],
    ['?window=24h', 86_400_000],
    ['?window=7d', 604_800_000],
  ])('%s', async (query, windowMs) => {
    const response = await get(`/stats${query}`)

    expect(response.headers.get('content-type')).toContain('application/json')
    expect(await response.json()).toEqual({ requests: 1 })
    expect(served.windows).toEqual([windowMs])
  })

  test.each(['2h', '', 'constructor', '1h&window=24h'])('window=%s is 400', async (text) => {
    const response = await get(`/stats?window=${text}`)

    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ errors: [{ message: 'window is one of 1h, 24h, 7d' }] })
    expect(served.windows).toEqual([])
  })
})
