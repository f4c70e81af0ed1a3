import { existsSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { type App, buildApp } from '../../src/app.js'
import { loadConfig } from '../../src/config/load.js'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import type { Repository, Tag } from '../../src/oci/reference.js'
import { blobKey, blobLinkKey, manifestLinkKey, tagLinkKey } from '../../src/storage/layout.js'
import { folderWith } from '../config/files.js'
import { ARTIFACTS, type Artifact, BLOBS } from '../helpers/model-world.js'
import { type Pusher, pusher } from '../helpers/push.js'
import { RegistryModel } from '../helpers/registry-model.js'
import { filesBelow } from '../helpers/stored-files.js'

/** `npm run test:model` does 1,000. */
const INTERLEAVINGS = Number(process.env.INTERLEAVINGS ?? 15)
const SEED = Number(process.env.MODEL_SEED ?? 20_261_124)
const HOUR = 3_600_000
const REPOSITORIES = ['local/app', 'local/team/web'] as const

const repository = fc.constantFrom(...REPOSITORIES)
const name = fc.constantFrom(...ARTIFACTS.keys())
const blob = fc.constantFrom(...BLOBS.keys())
const tag = fc.constantFrom('v1', 'v2')
const stage = fc.constantFrom<Stage>('whole', 'midway', 'abandoned')

type Stage = 'whole' | 'midway' | 'abandoned'

type Action =
  /** `midway`: a collection runs when its blobs are there and its manifest is not; `abandoned`: that never comes. */
  | { do: 'push'; repository: string; name: string; tag: string | undefined; stage: Stage }
  | { do: 'blob'; repository: string; blob: Digest }
  | { do: 'mount'; repository: string; from: string; blob: Digest }
  | { do: 'pull'; repository: string; tag: string }
  | { do: 'untag'; repository: string; tag: string }
  | { do: 'delete'; repository: string; name: string }
  | { do: 'collect' }

/** Actions of one step are under way together. */
type Step = { kind: 'together'; actions: Action[] } | { kind: 'later'; hours: number } | { kind: 'restart' | 'settle' }

const is = <Kind extends string>(kind: Kind) => fc.constant(kind)
const action = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: is('push'),
      repository,
      name,
      tag: fc.option(tag, { nil: undefined }),
      stage,
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: is('blob'), repository, blob }) },
  { weight: 1, arbitrary: fc.record({ do: is('mount'), repository, from: repository, blob }) },
  { weight: 2, arbitrary: fc.record({ do: is('pull'), repository, tag }) },
  { weight: 2, arbitrary: fc.record({ do: is('untag'), repository, tag }) },
  { weight: 2, arbitrary: fc.record({ do: is('delete'), repository, name }) },
  { weight: 4, arbitrary: fc.record({ do: is('collect') }) },
) as fc.Arbitrary<Action>
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: is('together'), actions: fc.array(action, { minLength: 1, maxLength: 5 }) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: is('later'), hours: fc.constantFrom(0.5, 2) }) },
  { weight: 1, arbitrary: fc.record({ kind: is('restart') }) },
  { weight: 1, arbitrary: fc.record({ kind: is('settle') }) },
) as fc.Arbitrary<Step>

/** The whole product over loopback, on a folder of its own and with a clock that can be put ahead. */
class Run {
  readonly #model = new RegistryModel()
  readonly #folder = folderWith({
    'mirrors.yaml':
      'server: { listen: 127.0.0.1:0 }\nregistries: { hub.test: { default: true, upstreams: [{ name: hub, url: "http://127.0.0.1:9" }] } }\n',
  })
  readonly #graceMs: number
  /** By their links' keys: what a client was last told to be there, and when at the earliest, in ms since the epoch. */
  readonly #told = new Map<string, { blob: Digest; at: number }>()
  #ahead = 0
  #app!: App
  #push!: Pusher

  constructor(graceMs: number) {
    this.#graceMs = graceMs
  }

  async start(): Promise<void> {
    const { config } = loadConfig({ env: {}, cwd: this.#folder })
    const gc = { ...config.gc, graceMs: this.#graceMs }
    this.#app = await buildApp({ ...config, gc }, pino({ level: 'silent' }), () => this.#now())
    const { port } = await this.#app.listen()
    this.#push = pusher(`http://127.0.0.1:${port}`)
  }

  async end(): Promise<void> {
    await this.#app.close()
    await rm(this.#folder, { recursive: true })
  }

  async take(step: Step): Promise<void> {
    if (step.kind === 'later') this.#ahead += step.hours * HOUR
    if (step.kind === 'restart') {
      await this.#app.close()
      await this.start()
    }
    if (step.kind === 'settle') await this.settle()
    if (step.kind === 'together') await this.#together(step.actions)
    await this.#nothingLost()
  }

  /** Everything gets old and a collection runs with nothing beside it: what is left is what is needed, to the file. */
  async settle(): Promise<void> {
    this.#ahead += 2 * HOUR
    expect(await this.#collect()).toBe(200)
    this.#model.collected()
    await this.#nothingLost()
    const needed = REPOSITORIES.flatMap((each) => this.#model.needed(each).map((artifact) => [each, artifact] as const))
    const links = needed.flatMap(([each, { digest, blobs }]) => [
      manifestLinkKey(each as Repository, digest),
      ...blobs.map((blob) => blobLinkKey(each as Repository, blob)),
    ])
    const tags = REPOSITORIES.flatMap((each) =>
      [...this.#model.of(each).tags.keys()].map((tag) => tagLinkKey(each as Repository, tag as Tag)),
    )
    const found = (await filesBelow(this.#data('repositories'))).map((file) => `repositories/${file}`)
    const referrers = found.filter((file) => file.includes('/_referrers/'))
    expect(found.filter((file) => !referrers.includes(file))).toEqual([...new Set([...links, ...tags])].sort())
    expect(referrers).toHaveLength(needed.filter(([, { subject }]) => subject !== undefined).length)
    const digests = new Set(needed.flatMap(([, { digest, blobs }]) => [digest, ...blobs]))
    expect((await filesBelow(this.#data('blobs'))).map((file) => `blobs/${file}`)).toEqual(
      [...digests].map(blobKey).sort(),
    )
  }

  async #together(actions: Action[]): Promise<void> {
    const apart: Action[] = []
    for (const action of actions) if (!apart.some((other) => collide(action, other))) apart.push(action)
    await Promise.all(apart.map((each) => this.#act(each)))
  }

  async #act(action: Action): Promise<void> {
    if (action.do === 'collect') return void expect([200, 409]).toContain(await this.#collect())
    const { repository } = action
    if (action.do === 'blob') return this.#pushBlob(repository, action.blob)
    if (action.do === 'mount') return this.#mount(action)
    if (action.do === 'pull') return this.#pull(repository, action.tag)
    if (action.do === 'push') {
      await this.#pushArtifact(repository, ARTIFACTS.get(action.name)!, action.tag, action.stage)
      return
    }
    const reference = action.do === 'untag' ? action.tag : ARTIFACTS.get(action.name)!.digest
    const { status } = await this.#push.send('DELETE', `/v2/${repository}/manifests/${reference}`)
    const { tags, manifests } = this.#model.of(repository)
    const known = action.do === 'untag' ? tags.has(action.tag) : manifests.has(action.name)
    // An orphan may have been collected already.
    const orphan = action.do === 'delete' && manifests.get(action.name)?.orphaned
    expect(orphan ? [202, 404] : [known ? 202 : 404]).toContain(status)
    if (!known) return
    if (action.do === 'untag') this.#model.untagged(repository, action.tag)
    else this.#model.deleted(repository, action.name)
  }

  /** As clients do: what is said to be here is not sent again. */
  async #pushArtifact(repository: string, artifact: Artifact, tag?: string, stage?: Stage): Promise<void> {
    const { name, digest, bytes, type, children, blobs } = artifact
    for (const child of children) {
      const { digest } = ARTIFACTS.get(child)!
      if (await this.#isHere(`${repository}/manifests/${digest}`)) continue
      await this.#pushArtifact(repository, ARTIFACTS.get(child)!)
    }
    for (const blob of blobs) {
      if (!(await this.#isHere(`${repository}/blobs/${blob}`))) await this.#pushBlob(repository, blob)
    }
    if (stage === 'abandoned') return
    if (stage === 'midway') expect([200, 409]).toContain(await this.#collect())
    const { status } = await this.#push.manifest(repository, tag ?? digest, bytes, type)
    expect([name, status]).toEqual([name, 201])
    this.#model.pushed(repository, name, tag)
  }

  async #isHere(path: string): Promise<boolean> {
    return (await this.#push.send('HEAD', `/v2/${path}`)).status === 200
  }

  async #pushBlob(repository: string, blob: Digest): Promise<void> {
    const at = this.#now()
    await this.#push.blob(repository, BLOBS.get(blob)!)
    this.#told.set(blobLinkKey(repository, blob), { blob, at })
  }

  async #mount({ repository, from, blob }: Extract<Action, { do: 'mount' }>): Promise<void> {
    const path = `/v2/${repository}/blobs/uploads/?mount=${blob}&from=${from}`
    const at = this.#now()
    const { status, headers } = await this.#push.send('POST', path)
    if (status === 202) return void (await this.#push.send('DELETE', headers.get('location')!))
    expect(status).toBe(201)
    this.#told.set(blobLinkKey(repository, blob), { blob, at })
  }

  /** A tag is whole, whatever is collected beside it. */
  async #pull(repository: string, tag: string): Promise<void> {
    const name = this.#model.of(repository).tags.get(tag)
    const response = await this.#push.send('GET', `/v2/${repository}/manifests/${tag}`)
    expect(response.status).toBe(name === undefined ? 404 : 200)
    if (name === undefined) return
    const { digest, blobs } = ARTIFACTS.get(name)!
    expect(digestOf(new Uint8Array(await response.arrayBuffer()))).toBe(digest)
    for (const blob of blobs) {
      const got = await this.#push.send('GET', `/v2/${repository}/blobs/${blob}`)
      expect(digestOf(new Uint8Array(await got.arrayBuffer()))).toBe(blob)
    }
  }

  async #collect(): Promise<number> {
    const response = await this.#push.send('POST', '/api/v1/gc')
    const text = await response.text()
    if (response.status === 200) expect(JSON.parse(text.trim().split('\n').at(-1)!).report.failure).toBeUndefined()
    return response.status
  }

  /** Looked up on disk, since asking the server would count as use. */
  async #nothingLost(): Promise<void> {
    for (const [link, { blob, at }] of this.#told) {
      if (at <= this.#now() - this.#graceMs) continue
      expect({ blob, lost: [link, blobKey(blob)].filter((key) => !existsSync(this.#data(key))) }).toEqual({
        blob,
        lost: [],
      })
    }
    for (const repository of REPOSITORIES) {
      for (const [tag, name] of this.#model.of(repository).tags) {
        const link = JSON.parse(await readFile(this.#data(tagLinkKey(repository as Repository, tag as Tag)), 'utf8'))
        expect(link.digest).toBe(ARTIFACTS.get(name)!.digest)
      }
      for (const { name, digest, blobs } of this.#model.needed(repository)) {
        if (this.#model.of(repository).manifests.get(name)!.orphaned && !this.#model.isHeld(repository, name)) continue
        const keys = [manifestLinkKey(repository, digest), blobKey(digest)]
        for (const blob of blobs) keys.push(blobLinkKey(repository, blob), blobKey(blob))
        expect({ repository, name, lost: keys.filter((key) => !existsSync(this.#data(key))) }).toEqual({
          repository,
          name,
          lost: [],
        })
      }
    }
  }

  #now(): number {
    return Date.now() + this.#ahead
  }

  #data(key: string): string {
    return join(this.#folder, 'data', key)
  }
}

/** Of two that change the same thing at the same time nobody knows who was last: only the first of them is taken. */
function collide(one: Action, other: Action): boolean {
  const known = (each: Action) => each.do !== 'collect' && each.do !== 'blob' && each.do !== 'mount'
  if (!known(one) || !known(other) || !('repository' in one && 'repository' in other)) return false
  if (one.repository !== other.repository) return false
  if (one.do === 'delete' || other.do === 'delete') return true
  if (one.do === 'pull' && other.do === 'pull') return false
  return 'tag' in one && 'tag' in other && one.tag !== undefined && one.tag === other.tag
}

function property(graceMs: number) {
  return fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 9 }), async (steps) => {
    const run = new Run(graceMs)
    await run.start()
    try {
      for (const each of steps) await run.take(each)
      await run.settle()
    } finally {
      await run.end()
    }
  })
}

test(`${INTERLEAVINGS} interleavings, seed ${SEED}: nothing needed or lately pushed is lost, no orphan is left, no tag dangles`, {
  timeout: 30_000 + INTERLEAVINGS * 3000,
}, async () => {
  await fc.assert(property(HOUR), { numRuns: INTERLEAVINGS, seed: SEED, endOnFailure: true, verbose: 1 })
})

test('without a grace period the same finds what is lost', { timeout: 120_000 }, async () => {
  const { failed } = await fc.check(property(0), { numRuns: 200, seed: SEED, endOnFailure: true })

  expect(failed).toBe(true)
})
