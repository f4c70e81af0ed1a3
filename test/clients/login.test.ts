import { readFileSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { htpasswd } from '../helpers/users.js'
import { Containerd } from './containerd.js'
import { Dockerd } from './dockerd.js'
import { HOST, Mirror } from './mirror.js'
import { hubRegistries, stageFolder, startDockerHub } from './stage.js'
import { type Tools, tools } from './tools.js'
import { WORLD } from './world.js'

const PASSWORD = 'correct-horse'
const REFUSED = /unauthorized|authentication required|denied|insufficient_scope/i

/** One address: everybody pulls, what is mirrored and what was pushed; users push, and alice alone sees local/private. */
describe('where users sign in', () => {
  let folder: string
  let upstreams: Awaited<ReturnType<typeof startDockerHub>>
  let mirror: Mirror
  let docker: Dockerd

  beforeAll(async () => {
    folder = await stageFolder('login')
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'users.htpasswd'), htpasswd({ alice: PASSWORD, bob: PASSWORD }))
    upstreams = await startDockerHub(folder)
    const access = [
      { repositories: '**', users: ['anonymous'], actions: ['pull'] },
      { repositories: '**', actions: ['push', 'delete'] },
      { repositories: 'local/private/**', users: ['alice'], actions: ['pull', 'push'] },
    ]
    const auth = { htpasswd: 'users.htpasswd', access }
    mirror = await Mirror.start({ folder, registries: hubRegistries(upstreams), auth })
    docker = await Dockerd.start({ ...WORLD.dockerA, folder: join(folder, 'docker'), mirror: HOST })
  })

  afterAll(async () => {
    await docker.stop()
    await mirror.stop()
    await upstreams.stop()
  })

  describe('docker', () => {
    test('pulls without login by the mirror, and cannot push', async () => {
      await docker.docker('pull', 'hello')
      await docker.docker('tag', 'hello', `${HOST}/local/docker:v1`)

      const { code, output } = await docker.attempt('push', `${HOST}/local/docker:v1`)

      expect(code).not.toBe(0)
      expect(output).toMatch(REFUSED)
    })

    test('is told that a password is wrong, and that one is right', async () => {
      const wrong = await docker.attempt('login', '-u', 'alice', '-p', 'wrong', HOST)
      const right = await docker.attempt('login', '-u', 'alice', '-p', PASSWORD, HOST)

      expect([wrong.code === 0, right.code]).toEqual([false, 0])
      expect(wrong.output).toMatch(/unauthorized/)
    })

    test('pushes after that, also what is private, pulls it back, and still pulls what is mirrored', async () => {
      await docker.docker('tag', 'hello', `${HOST}/local/private/app:v1`)
      for (const name of ['docker', 'private/app']) await docker.docker('push', `${HOST}/local/${name}:v1`)
      for (const name of ['docker', 'private/app']) await docker.docker('rmi', `${HOST}/local/${name}:v1`)

      for (const name of ['docker', 'private/app']) await docker.docker('pull', `${HOST}/local/${name}:v1`)

      await docker.docker('pull', 'versions:1.0')
    })

    test('after logout pulls what everybody may, and can no more push or pull what is private', async () => {
      await docker.docker('logout', HOST)
      await docker.docker('rmi', `${HOST}/local/docker:v1`, `${HOST}/local/private/app:v1`)

      await docker.docker('pull', `${HOST}/local/docker:v1`)
      const refused = [
        await docker.attempt('push', `${HOST}/local/docker:v1`),
        await docker.attempt('pull', `${HOST}/local/private/app:v1`),
      ]

      for (const { code, output } of refused) {
        expect(code).not.toBe(0)
        expect(output).toMatch(REFUSED)
      }
    })

    test('F97: pulls by the mirror while it is signed in at Docker Hub as somebody', async () => {
      const file = join(folder, 'docker', 'config.json')
      const before = await readFile(file, 'utf8')
      const auth = Buffer.from('hubuser:hub-password').toString('base64')
      await writeFile(file, JSON.stringify({ auths: { 'https://index.docker.io/v1/': { auth } } }))

      await docker.docker('pull', 'versions:2.0')

      await writeFile(file, before)
    })
  })

  describe('podman, buildah and skopeo', () => {
    let client: Tools
    beforeAll(async () => {
      client = await tools({ folder: join(folder, 'tools'), netns: WORLD.tools.netns, mirror: HOST })
      await client.podman('pull', 'docker.io/library/hello')
    })
    const push = {
      podman: () => client.podman('push', 'docker.io/library/hello', `docker://${HOST}/local/podman:v1`),
      buildah: () =>
        client.buildah('push', '--tls-verify=false', 'docker.io/library/hello', `docker://${HOST}/local/buildah:v1`),
      skopeo: () =>
        client.skopeo(
          ...['copy', '--src-tls-verify=false', '--dest-tls-verify=false'],
          ...[`docker://${HOST}/library/hello`, `docker://${HOST}/local/skopeo:v1`],
        ),
    }
    const inspect = (name: string) => client.skopeo('inspect', '--tls-verify=false', `docker://${HOST}/${name}`)

    test.each(['podman', 'buildah', 'skopeo'] as const)(
      '%s pushes when it is signed in, and only then; anonymous pulls go on',
      async (name) => {
        const login = (password: string) =>
          client[name]('login', '--tls-verify=false', '-u', 'bob', '-p', password, HOST)

        await expect(push[name]()).rejects.toThrow(REFUSED)
        await expect(login('wrong')).rejects.toThrow(/invalid username\/password|unauthorized/i)
        await login(PASSWORD)
        await push[name]()
        await client[name]('logout', HOST)

        await expect(push[name]()).rejects.toThrow(REFUSED)
        await inspect(`local/${name}:v1`)
        await inspect('library/versions:1.1')
      },
    )

    test('skopeo deletes with a name and a password', async () => {
      const target = `docker://${HOST}/local/skopeo:v1`
      await expect(client.skopeo('delete', '--tls-verify=false', target)).rejects.toThrow(REFUSED)

      await client.skopeo('delete', '--tls-verify=false', '--creds', `bob:${PASSWORD}`, target)

      await expect(inspect('local/skopeo:v1')).rejects.toThrow(/manifest unknown|name unknown/i)
    })

    test('bob does not see what is private to alice', async () => {
      const target = `docker://${HOST}/local/private/app:v1`

      await client.skopeo('inspect', '--tls-verify=false', '--creds', `alice:${PASSWORD}`, target)
      await expect(
        client.skopeo('inspect', '--tls-verify=false', '--creds', `bob:${PASSWORD}`, target),
      ).rejects.toThrow(REFUSED)
    })
  })

  describe('ctr', () => {
    let containerd: Containerd
    beforeAll(async () => {
      const place = { ...WORLD.dockerB, folder: join(folder, 'containerd') }
      containerd = await Containerd.start({ ...place, mirror: HOST, registries: ['docker.io'] })
    })
    afterAll(() => containerd.stop())

    test('pulls without a user by hosts.toml, pushes with one, and not with a wrong password or without', async () => {
      const target = `${HOST}/local/ctr:v1`
      const push = (...user: string[]) =>
        containerd.attempt('images', 'push', '--plain-http', ...user, target, 'docker.io/library/hello:latest')
      await containerd.pull('docker.io/library/hello:latest')

      for (const user of [[], ['--user', 'bob:wrong']]) {
        const { code, output } = await push(...user)
        expect(code).not.toBe(0)
        expect(output).toMatch(/unauthorized|authorization failed|denied|401/i)
      }
      const { code, output } = await push('--user', `bob:${PASSWORD}`)

      expect(code, output).toBe(0)
      await containerd.ctr('images', 'pull', '--plain-http', '--snapshotter', 'native', target)
    })
  })

  test('the log names users, and holds no password and no token', () => {
    const log = readFileSync(join(folder, 'mirror.log'), 'utf8')

    expect(log).toContain('"user":"alice"')
    expect(log).toContain('"user":"bob"')
    expect(log).not.toContain(PASSWORD)
    expect(log).not.toMatch(/hub-password|eyJ[\w-]+\.[\w-]+\.|[Bb]asic [\w+/=]{8}/)
  })
})
