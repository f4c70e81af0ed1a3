import { tmpdir } from 'node:os'
import { expect, test } from 'vitest'
import { DiskGuard, type DiskGuardDeps, type RoomMaker } from '../../src/registry/disk-guard.js'

const MIB = 1024 * 1024
/** More than any disk has. */
const EVERYTHING = 2 ** 60

type Deps = Partial<Omit<DiskGuardDeps, 'room'> & RoomMaker>

const guarded = ({ sizeBytes = 0, makeRoom = async () => false, ...deps }: Deps) => {
  const room = { sizeBytes, makeRoom }
  return new DiskGuard({ folder: tmpdir(), minFreeBytes: EVERYTHING, room, now: Date.now, ...deps })
}

const noRoom = () => Promise.reject(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' }))

test('what is asked for is what is lacking: with some more at first, and without it where that is too much', async () => {
  const asked: number[] = []
  const makeRoom = async (bytes: number) => {
    asked.push(bytes)
    return false
  }

  await expect(guarded({ makeRoom }).take(5 * MIB)).rejects.toMatchObject({ code: 'UNAVAILABLE', status: 507 })

  expect(asked).toHaveLength(2)
  expect(asked[0]! - asked[1]!).toBe(32 * MIB)
})

test('nobody waits for room for ever, whoever makes it', async () => {
  const guard = guarded({ makeRoom: () => new Promise(() => {}), patienceMs: 20 })

  await expect(guard.take(1)).rejects.toMatchObject({ status: 507 })
  await expect(guard.writing(noRoom)).rejects.toMatchObject({ status: 507, cause: { code: 'ENOSPC' } })
})

test('room that was made and taken by others is asked for a few times more, and no further', async () => {
  let asked = 0
  const makeRoom = async () => {
    asked++
    return true
  }

  await expect(guarded({ makeRoom }).take(1)).rejects.toMatchObject({ status: 507 })

  expect(asked).toBe(3)
})

test('what is only said to come makes no room, and is refused where none could be made', async () => {
  const makeRoom = () => expect.unreachable() as never

  await guarded({ makeRoom, sizeBytes: 2 * EVERYTHING }).expect(MIB)
  await expect(guarded({ makeRoom, sizeBytes: MIB }).expect(2 * MIB)).rejects.toMatchObject({ status: 507 })
})

test.each([
  { gained: true, result: 'written', tried: 2 },
  { gained: false, result: 507, tried: 1 },
])('a write that met a full disk: room made: $gained, tried: $tried', async ({ gained, result, tried }) => {
  let count = 0
  const work = () => (++count === 1 ? noRoom() : Promise.resolve('written'))

  const written = guarded({ makeRoom: async () => gained }).writing(work)

  expect(await written.catch(({ status }) => status)).toBe(result)
  expect(count).toBe(tried)
})

test('what fails for another reason is not tried again, and makes no room', async () => {
  const broken = Object.assign(new Error('broken'), { code: 'EIO' })
  const guard = guarded({ makeRoom: () => expect.unreachable() as never })

  await expect(guard.writeWhatFits([() => Promise.reject(broken)])).rejects.toBe(broken)
})

test('what fits is written, and the rest is handed back', async () => {
  const written: string[] = []
  const fits = async () => void written.push('fits')

  expect(await guarded({}).writeWhatFits([noRoom, fits])).toEqual([noRoom])

  expect(written).toEqual(['fits'])
})
