import { afterEach, describe, expect, test } from 'vitest'
import { referenceOf } from '../../src/oci/reference.js'
import type { UpstreamOptions } from '../../src/upstream/registry-client.js'
import type { UpstreamGroup } from '../../src/upstream/upstream-group.js'
import {
  type BuiltInUpstream,
  closeAll,
  digestOfBody,
  groupOf,
  REPOSITORY,
  startUpstream,
  upstreamOptions,
  Watch,
} from '../helpers/upstream.js'

const MIB = 1024 * 1024

afterEach(closeAll)

const mirror = ({ url }: BuiltInUpstream, name: string, options: Partial<UpstreamOptions> = {}) =>
  upstreamOptions(url, { name, role: 'mirror', ...options })

/** Two mirrors, of which a group asks the first, and a manifest that both have. */
async function start() {
  const [one, other] = await Promise.all([startUpstream(), startUpstream()])
  const digest = one.addImage(REPOSITORY, 'v1', { layers: [Buffer.from('a layer')] }).manifest
  other.addImage(REPOSITORY, 'v1', { layers: [Buffer.from('a layer')] })
  const watch = new Watch()
  const group = groupOf([mirror(one, 'one')], { watch })
  const ask = () => group.getManifest(REPOSITORY, referenceOf(digest), { among: 'all' })
  return { one, other, group, watch, ask }
}

/** A blob that both have, and its download with the first part of it read from the first. */
async function startDownload(one: BuiltInUpstream, other: BuiltInUpstream, group: UpstreamGroup) {
  const bytes = Buffer.alloc(4 * MIB, 7)
  const digest = one.addBlob(bytes)
  other.addBlob(bytes)
  one.bytesPerSecond = 8 * MIB
  const transfer = group.openTransfer(REPOSITORY, digest)
  const stream = await transfer.next(0)
  return { digest, transfer, stream }
}

describe('another list of upstreams', () => {
  test('is asked at once, and shown', async () => {
    const { one, other, group, ask } = await start()
    await ask()

    group.configure([mirror(other, 'other')])

    expect(await ask()).toMatchObject({ upstream: 'other' })
    expect(one.requests).toHaveLength(1)
    expect(group.states().map(({ name }) => name)).toEqual(['other'])
  })

  test('keeps connections and figures of those whose options are as they were, wherever they stand', async () => {
    const { one, other, group, ask } = await start()
    await Promise.all([ask(), ask(), ask()])
    const before = group.states()[0]

    group.configure([mirror(other, 'other', { allow: ['elsewhere/*'] }), mirror(one, 'one')])

    expect(group.states()[1]).toEqual(before)
    await ask()
    expect(await one.connections()).toBe(3)
  })

  test('keeps it quiet that one is out of reach', async () => {
    const { one, other, group, watch, ask } = await start()
    await one.stop()
    await expect(ask()).rejects.toThrow()
    expect(group.states()[0]?.state).toBe('open')

    group.configure([mirror(one, 'one'), mirror(other, 'other')])
    await ask()

    expect(group.states().map(({ name, state }) => `${name} ${state}`)).toEqual(['one open', 'other up'])
    expect(watch.states).toEqual(['one open'])
  })

  test('has one with other options begin anew, but for its counts', async () => {
    const { one, group, ask } = await start()
    await ask()

    group.configure([mirror(one, 'one', { minBytesPerSecond: 1 })])

    const [standing] = group.states()
    expect(standing).toMatchObject({ requests: 1, ttfbMs: 0 })
    await ask()
    expect(group.states()[0]?.requests).toBe(2)
  })

  test('closes the connections of one that has left and is not in use', async () => {
    const { one, group, ask } = await start()
    await ask()
    expect(await one.connections()).toBe(1)

    group.configure([])

    await expect.poll(() => one.connections()).toBe(0)
  })

  test('lets a question that is under way have its answer from one that has left', async () => {
    const { one, other, group, ask } = await start()
    let asked = () => {}
    const begun = new Promise<void>((resolve) => {
      asked = resolve
    })
    one.fault = () => {
      asked()
      return { kind: 'delay', ms: 100 }
    }
    const answer = ask()
    await begun

    group.configure([mirror(other, 'other')])

    expect(await answer).toMatchObject({ upstream: 'one' })
    await expect.poll(() => one.connections()).toBe(0)
  })

  test('lets a download end at one that has left, which is closed when the download is', async () => {
    const { one, other, group } = await start()
    const { digest, transfer, stream } = await startDownload(one, other, group)

    group.configure([mirror(other, 'other')])

    expect(await digestOfBody(stream.body, digest)).toBe(digest)
    expect([one.count(/blobs/), other.count(/blobs/)]).toEqual([1, 0])
    expect(await one.connections()).toBe(1)
    transfer.close()
    await expect.poll(() => one.connections()).toBe(0)
  })

  test('has a download that breaks off go on at one that has come', async () => {
    const { one, other, group } = await start()
    const { transfer, stream } = await startDownload(one, other, group)
    const failed = async () => {
      for await (const _chunk of stream.body);
    }

    group.configure([mirror(other, 'other')])
    await one.stop()
    await failed().catch((error: unknown) => stream.failed(error))
    const next = await transfer.next(MIB)

    expect(next.upstream).toBe('other')
    expect(other.requests.at(-1)?.range).toBe(`bytes=${MIB}-`)
    next.destroy()
    transfer.close()
  })
})
