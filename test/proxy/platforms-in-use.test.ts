import { beforeEach, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import type { Manifest } from '../../src/oci/manifest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { PlatformsInUse } from '../../src/proxy/platforms-in-use.js'

const DAY = 24 * 3_600_000

let now: number
let platforms: PlatformsInUse
beforeEach(() => {
  now = Date.UTC(2030, 0, 1)
  platforms = new PlatformsInUse({ now: () => now })
})

const PLATFORMS = {
  amd64: { os: 'linux', architecture: 'amd64' },
  v6: { os: 'linux', architecture: 'arm', variant: 'v6' },
  v7: { os: 'linux', architecture: 'arm', variant: 'v7' },
  windows: { os: 'windows', architecture: 'amd64', 'os.version': '10.0.1' },
  attestation: { os: 'unknown', architecture: 'unknown' },
  none: undefined,
}
type Name = keyof typeof PLATFORMS

const digestIn = (index: string, name: Name) => digestOf(Buffer.from(`${index} ${name}`))

function indexOf(index: string): Manifest {
  const manifests = Object.entries(PLATFORMS).map(([name, platform]) => ({
    mediaType: MEDIA_TYPES.ociManifest,
    digest: digestIn(index, name as Name),
    size: 1,
    ...(platform ? { platform } : {}),
  }))
  return {
    mediaType: MEDIA_TYPES.ociIndex,
    manifests,
    blobs: [],
    subject: undefined,
    artifactType: undefined,
    annotations: undefined,
  }
}

const inUse = () => platforms.among(indexOf('new')).map(({ digest }) => digest)

test('none is in use before one is known', () => {
  platforms.learn(indexOf('old'))

  expect(inUse()).toEqual([])
})

test.each<Name>(['amd64', 'v6', 'windows'])('one of which a manifest was asked for is, and no other: %s', (name) => {
  platforms.learn(indexOf('old'))

  platforms.asked(digestIn('old', name))

  expect(inUse()).toEqual([digestIn('new', name)])
})

test.each<Name>(['attestation', 'none'])('what is for no platform never is: %s', (name) => {
  platforms.learn(indexOf('old'))

  platforms.asked(digestIn('old', name))

  expect(inUse()).toEqual([])
})

test('a manifest that no known index lists says nothing', () => {
  platforms.asked(digestIn('old', 'amd64'))
  platforms.learn(indexOf('old'))

  expect(inUse()).toEqual([])
})

test('one that was not asked for within a week is in use no more', () => {
  platforms.learn(indexOf('old'))
  platforms.asked(digestIn('old', 'amd64'))
  now += 6 * DAY
  platforms.asked(digestIn('old', 'v7'))
  now += 2 * DAY

  expect(inUse()).toEqual([digestIn('new', 'v7')])
})
