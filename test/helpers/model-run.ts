import { existsSync, readFileSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect } from 'vitest'
import { type App, buildApp } from '../../src/app.js'
import { loadConfig } from '../../src/config/load.js'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import type { Repository, Tag } from '../../src/oci/reference.js'
import { blobKey, blobLinkKey, manifestLinkKey, tagLinkKey } from '../../src/storage/layout.js'
import { folderWith } from '../config/files.js'
import { type Action, collide, type Stage, type Step } from './model-actions.js'
import { Doubts, type Reality } from './model-doubts.js'
import { ARTIFACTS, type Artifact, BLOBS, REPOSITORIES, RETENTION } from './model-world.js'
import { type Pusher, pusher } from './push.js'
import { RegistryModel } from './registry-model.js'
import { filesBelow } from './stored-files.js'

export const HOUR = 3_600_000

/** The whole product over loopback, on a folder of its own and with a clock that can be put ahead. */
export class Run {
  readonly #model = new RegistryModel()
  readonly #folder = folderWith({
    'mirrors.yaml':
      'server: { listen: 127.0.0.1:0 }\nregistries: { hub.test: { default: true, upstreams: [{ name: hub, url: "http://127.0.0.1:9" }] } }\n' +
      `gc: { ${RETENTION} }\n`,
  })
  readonly #graceMs: number
  /** By their links' keys: what a client was last told to be there, and when at the earliest, in ms since the epoch. */
  readonly #told = new Map<string, { blob: Digest; at: number }>()
  #ahead = 0
  #doubts = new Doubts(this.#model, Number.NEGATIVE_INFINITY)
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
    // So that of tags put one after the other each is newer than the last.
    this.#ahead += 1
    if (step.kind === 'later') this.#ahead += step.hours * HOUR
    if (step.kind === 'restart') {
      await this.#app.close()
      await this.start()
    }
    if (step.kind === 'settle') await this.settle()
    if (step.kind === 'together') await this.#together(step.actions)
    await this.#nothingLost()
  }

  /**
   * Everything gets old and a collection runs with nothing beside it: what is left is what is needed, to the file; until
   * there is nothing more to go, since signatures go after what they are of.
   */
  async settle(): Promise<void> {
    const isLeft = (each: string) => {
      const { tags, manifests } = this.#model.fate(each, this.#now())
      return tags.size + manifests.size > 0
    }
    do {
      this.#ahead += 2 * HOUR
      const cutoff = this.#now() - HOUR
      expect(await this.#collect()).toBe(200)
      for (const each of REPOSITORIES) this.#model.collected(each, cutoff)
      await this.#nothingLost()
      await this.#nothingLeft()
    } while (REPOSITORIES.some(isLeft))
  }

  async #nothingLeft(): Promise<void> {
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
    const isCollecting = apart.some((each) => each.do === 'collect' || (each.do === 'push' && each.stage === 'midway'))
    // What gets old while they are under way counts as old: no step takes a minute.
    const cutoff = isCollecting ? this.#now() - HOUR + 60_000 : Number.NEGATIVE_INFINITY
    this.#doubts = new Doubts(this.#model, cutoff)
    await Promise.all(apart.map((each) => this.#act(each)))
    this.#doubts.resolve(this.#reality)
  }

  async #act(action: Action): Promise<void> {
    if (action.do === 'collect') return void expect([200, 409]).toContain(await this.#collect())
    const { repository } = action
    if (action.do === 'blob') return this.#pushBlob(repository, action.blob)
    if (action.do === 'mount') return this.#mount(action)
    if (action.do === 'push')
      return this.#pushArtifact(repository, ARTIFACTS.get(action.name)!, action.tag, action.stage)
    if (action.do === 'untag') return this.#untag(repository, action.tag)
    if (action.do === 'delete') return this.#delete(repository, action.name)
    for (let requests = 0; requests < action.after; requests++) await this.#push.send('GET', '/v2/')
    if (action.do === 'pull') return this.#pull(repository, action.tag)
    await this.#isManifestHere(repository, ARTIFACTS.get(action.name)!)
  }

  async #untag(repository: string, tag: string): Promise<void> {
    const { status } = await this.#push.send('DELETE', `/v2/${repository}/manifests/${tag}`)
    const isKnown = this.#model.of(repository).tags.has(tag)
    // A rule may have taken it just before.
    const isDoubted = this.#doubts.ofTag(repository, tag)
    expect(isKnown && isDoubted ? [202, 404] : [isKnown ? 202 : 404]).toContain(status)
    if (status === 404) this.#model.expired(repository, tag)
    else this.#model.untagged(repository, tag)
    this.#doubts.changed()
  }

  async #delete(repository: string, name: string): Promise<void> {
    const { status } = await this.#push.send('DELETE', `/v2/${repository}/manifests/${ARTIFACTS.get(name)!.digest}`)
    const isKnown = this.#model.of(repository).manifests.has(name)
    const isDoubted = this.#doubts.ofManifest(repository, name)
    expect(isKnown && isDoubted ? [202, 404] : [isKnown ? 202 : 404]).toContain(status)
    if (isKnown) this.#model.deleted(repository, name)
    this.#doubts.changed()
  }

  /** As clients do: what is said to be here is not sent again. */
  async #pushArtifact(repository: string, artifact: Artifact, tag?: string, stage?: Stage): Promise<void> {
    const { name, digest, bytes, type, children, blobs } = artifact
    for (const each of children) {
      const child = ARTIFACTS.get(each)!
      if (!(await this.#isManifestHere(repository, child))) await this.#pushArtifact(repository, child)
    }
    for (const blob of blobs) {
      if (!(await this.#isBlobHere(repository, blob))) await this.#pushBlob(repository, blob)
    }
    if (stage === 'abandoned') return
    if (stage === 'midway') expect([200, 409]).toContain(await this.#collect())
    const at = this.#now()
    const { status } = await this.#push.manifest(repository, tag ?? digest, bytes, type)
    expect([name, status]).toEqual([name, 201])
    const replaced = tag === undefined ? undefined : this.#model.of(repository).tags.get(tag)?.name
    this.#model.pushed(repository, { name, tag, at })
    this.#doubts.pushed(repository, { name, tag, replaced })
  }

  async #isManifestHere(repository: string, { name, digest }: Artifact): Promise<boolean> {
    const at = this.#now()
    const isKnown = this.#model.of(repository).manifests.has(name)
    const { status } = await this.#push.send('HEAD', `/v2/${repository}/manifests/${digest}`)
    if (isKnown && !this.#doubts.ofManifest(repository, name)) expect([repository, name, status]).toContain(200)
    if (status === 200) this.#used(repository, name, at)
    return status === 200
  }

  async #isBlobHere(repository: string, blob: Digest): Promise<boolean> {
    const at = this.#now()
    const { status } = await this.#push.send('HEAD', `/v2/${repository}/blobs/${blob}`)
    if (status === 200) this.#told.set(blobLinkKey(repository as Repository, blob), { blob, at })
    return status === 200
  }

  #used(repository: string, name: string, at: number): void {
    this.#model.used(repository, name, at)
    this.#doubts.used(repository, name)
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
    const at = this.#now()
    const name = this.#model.of(repository).tags.get(tag)?.name
    const response = await this.#push.send('GET', `/v2/${repository}/manifests/${tag}`)
    const isDoubted = this.#doubts.ofTag(repository, tag)
    if (name === undefined || !isDoubted) expect(response.status).toBe(name === undefined ? 404 : 200)
    if (name === undefined || (isDoubted && response.status === 404)) return
    this.#used(repository, name, at)
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
      if (at <= this.#now() - HOUR) continue
      expect({ blob, lost: [link, blobKey(blob)].filter((key) => !existsSync(this.#data(key))) }).toEqual({
        blob,
        lost: [],
      })
    }
    for (const repository of REPOSITORIES) {
      for (const [tag, { name }] of this.#model.of(repository).tags) {
        const link = JSON.parse(await readFile(this.#data(tagLinkKey(repository as Repository, tag as Tag)), 'utf8'))
        expect(link.digest).toBe(ARTIFACTS.get(name)!.digest)
      }
      for (const { name, digest, blobs } of this.#model.needed(repository)) {
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

  readonly #reality: Reality = {
    hasTag: (repository, tag) => existsSync(this.#data(tagLinkKey(repository as Repository, tag as Tag))),
    hasManifest: (repository, name) => existsSync(this.#manifestLink(repository, name)),
    isOrphaned: (repository, name) =>
      JSON.parse(readFileSync(this.#manifestLink(repository, name), 'utf8')).orphanedAt !== undefined,
  }

  #manifestLink(repository: string, name: string): string {
    return this.#data(manifestLinkKey(repository as Repository, ARTIFACTS.get(name)!.digest))
  }

  #now(): number {
    return Date.now() + this.#ahead
  }

  #data(key: string): string {
    return join(this.#folder, 'data', key)
  }
}
