import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { type GoClients, goClients } from './go-clients.js'
import { HOST, Mirror } from './mirror.js'
import { hubRegistries, stageFolder, startDockerHub } from './stage.js'

/** COSIGN_EXPERIMENTAL lets cosign use referrers at all. */
const COSIGN = { COSIGN_PASSWORD: 'of the test', COSIGN_EXPERIMENTAL: '1' }
const TRUST_POLICY = {
  version: '1.0',
  trustPolicies: [
    {
      name: 'the certificate of the test',
      registryScopes: ['*'],
      signatureVerification: { level: 'strict' },
      trustStores: ['ca:test'],
      trustedIdentities: ['*'],
    },
  ],
}

describe('signatures of what is pushed, and of what is mirrored', () => {
  let upstreams: Awaited<ReturnType<typeof startDockerHub>>
  let mirror: Mirror
  let client: GoClients

  beforeAll(async () => {
    const folder = await stageFolder('signatures')
    upstreams = await startDockerHub(folder)
    const { 'docker.io': hub } = hubRegistries(upstreams)
    mirror = await Mirror.start({ folder, registries: { 'docker.io': { ...hub, attach: true } } })
    client = await goClients(inject('goClients'), join(folder, 'client'), COSIGN)
    await client.cosign('generate-key-pair')
    await client.notation('cert', 'generate-test', '--default', 'test')
    await writeFile(join(folder, 'client', 'policy.json'), JSON.stringify(TRUST_POLICY))
    await client.notation('policy', 'import', 'policy.json')
  })

  afterAll(async () => {
    await mirror.stop()
    await upstreams.stop()
  })

  const byDigest = async (name: string, tag = 'latest') => {
    const { stdout } = await client.crane('digest', '--insecure', `${HOST}/${name}:${tag}`)
    return `${HOST}/${name}@${stdout.trim()}`
  }
  /** @returns the image by its digest */
  const copied = async (name: string) => {
    await client.crane('copy', '--insecure', `${HOST}/library/hello`, `${HOST}/${name}`)
    return byDigest(name)
  }
  /** @returns what the tag stands for then */
  const changed = async (name: string) => {
    await client.crane('mutate', '--insecure', '--label', 'changed=yes', '-t', `${HOST}/${name}`, `${HOST}/${name}`)
    return byDigest(name)
  }
  const tags = async (name: string) => (await client.crane('ls', '--insecure', `${HOST}/${name}`)).stdout.split('\n')
  const signatureTag = (image: string) => `${image.split('@')[1]!.replace(':', '-')}.sig`

  describe.each([
    { how: 'under a tag', tagged: true, signing: ['--registry-referrers-mode', 'legacy'], verifying: [] },
    {
      how: 'as a referrer',
      tagged: false,
      signing: ['--registry-referrers-mode', 'oci-1-1'],
      verifying: ['--experimental-oci11'],
    },
  ])('cosign, $how', ({ tagged, signing, verifying }) => {
    const local = `local/cosign-${tagged ? 'tag' : 'referrer'}`
    const sign = (image: string) =>
      client.cosign('sign', '-y', '--key', 'cosign.key', '--tlog-upload=false', ...signing, image)
    const verify = (image: string) =>
      client.cosign('verify', '--key', 'cosign.pub', '--insecure-ignore-tlog', ...verifying, image)

    test('signs what was pushed, verifies it, and not what has taken its place', async () => {
      const image = await copied(local)
      await expect(verify(image)).rejects.toThrow('no signatures found')

      await sign(image)

      expect((await verify(image)).stdout).toContain(image.split('@')[1])
      expect((await tags(local)).includes(signatureTag(image))).toBe(tagged)
      await expect(verify(await changed(local))).rejects.toThrow('no signatures found')
    })

    test('signs what is mirrored, and verifies it', async () => {
      const image = await byDigest('library/versions', tagged ? '1.0' : '2.0')
      await expect(verify(image)).rejects.toThrow('no signatures found')

      await sign(image)

      expect((await verify(image)).stdout).toContain(image.split('@')[1])
      expect((await tags('library/versions')).includes(signatureTag(image))).toBe(tagged)
    })
  })

  describe('notation', () => {
    const notation = (verb: string, image: string) => client.notation(verb, '--insecure-registry', image)

    test.each([
      ['what was pushed', () => copied('local/notation')],
      ['what is mirrored', () => byDigest('library/platforms')],
    ])('signs %s, lists the signature and verifies it', async (_what, make) => {
      const image = await make()
      await expect(notation('verify', image)).rejects.toThrow('no signature is associated')

      await notation('sign', image)

      expect((await notation('verify', image)).output).toContain('Successfully verified')
      expect((await notation('ls', image)).stdout).toContain('application/vnd.cncf.notary.signature')
    })

    test('does not verify what has taken the place of what was signed', async () => {
      await notation('sign', await copied('local/replaced'))

      await expect(notation('verify', await changed('local/replaced'))).rejects.toThrow('no signature is associated')
    })
  })
})
