import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { temporaryFolder } from '../helpers/local-server.js'
import { registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, closing, startUpstream } from '../helpers/upstream.js'
import { askToken, basic, htpasswd } from '../helpers/users.js'

const ALICE = basic('alice', 'alicesecret')
const BOB = basic('bob', 'bobsecret')
const ELSEWHERE = { 'x-forwarded-for': '192.0.2.1' }
const RULES = [{ repositories: 'docker.io/team/*', users: ['alice'], actions: ['pull'] }]
const ALL = { top: ['docker.io/library/app', 'docker.io/team/app'], refused: ['library/other', 'team/other'] }
const OPEN = { top: ['docker.io/library/app'], refused: ['library/other'] }

let hub: BuiltInUpstream
let folder: string
beforeEach(async () => {
  hub = await startUpstream()
  const made = await temporaryFolder()
  closing({ close: made.remove })
  folder = made.path
  await writeFile(join(folder, 'users.htpasswd'), htpasswd({ alice: 'alicesecret', bob: 'bobsecret' }))
})
afterEach(closeAll)

/** A mirror from which alice has pulled, and to which its upstream has refused a repository of each kind. */
async function start(auth?: Record<string, unknown>) {
  const mirror = await startMirror({
    registries: { 'docker.io': registry([{ name: 'hub', url: hub.url }]) },
    settings: auth ? { auth: { htpasswd: 'users.htpasswd', ...auth } } : {},
    storage: folder,
  })
  hub.fault = ({ path }) => (path.includes('/other/') ? { kind: 'status', status: 403 } : undefined)
  for (const name of ['library/app', 'team/app']) {
    hub.addImage(name, 'v1', { layers: [10] })
    expect((await mirror.get(`/v2/${name}/manifests/v1`, { authorization: ALICE })).status).toBe(200)
  }
  for (const name of ['library/other', 'team/other'])
    await mirror.get(`/v2/${name}/manifests/v1`, { authorization: ALICE })
  await expect.poll(() => mirror.log.filter(({ path }) => String(path).includes('/manifests/')).length).toBe(4)

  const stats = async (headers: Record<string, string>, query = '') => {
    const { status, text } = await mirror.get(`/stats${query}`, headers)
    expect(status).toBe(200)
    const { topRepositories, upstreams, requests } = JSON.parse(text) as Awaited<ReturnType<typeof mirror.stats>>
    expect(requests.total).toBe(4)
    return {
      top: topRepositories
        .map(({ name }) => name)
        .filter((name) => name.endsWith('/app'))
        .sort(),
      refused: (upstreams[0]!.refusals ?? []).map(({ repository }) => repository).sort(),
    }
  }
  return { mirror, stats }
}

test('/stats names repositories that not everybody may pull to the admins alone, and is answered to all', async () => {
  const { mirror, stats } = await start({ access: RULES, admins: ['alice'] })
  const { body } = await askToken(mirror.url, [], { authorization: ALICE })

  expect(await stats({ authorization: ALICE })).toEqual(ALL)
  expect(await stats({ authorization: ALICE, ...ELSEWHERE }, '?window=1h')).toEqual(ALL)
  for (const authorization of [BOB, basic('alice', 'wrong'), basic('hub', 'token'), `Bearer ${body.token}`, 'nonsense'])
    expect([authorization, await stats({ authorization })]).toEqual([authorization, OPEN])
  expect(await stats({})).toEqual(OPEN)
  expect(await stats({}, '?window=1h')).toEqual(OPEN)
})

test('/stats names them to this machine where there are no admins, and to nobody else', async () => {
  const { stats } = await start({ access: RULES })

  expect(await stats({})).toEqual(ALL)
  expect(await stats(ELSEWHERE)).toEqual(OPEN)
  expect(await stats({ authorization: ALICE, ...ELSEWHERE })).toEqual(OPEN)
})

test('/stats names no repository to strangers where nobody may pull without a password', async () => {
  const { stats } = await start({ anonymous: [] })

  expect(await stats(ELSEWHERE)).toEqual({ top: [], refused: [] })
})

test('/stats names every repository to everybody where there is no auth', async () => {
  const { stats } = await start()

  expect(await stats(ELSEWHERE)).toEqual(ALL)
})
