import type { Logger } from 'pino'
import type { EventBus } from '../events.js'
import { isDiskFault } from '../lib/disk-faults.js'
import type { BlobStore } from '../metadata/blob-store.js'
import type { MetadataIndex } from '../metadata/metadata-index.js'
import type { Repository } from '../oci/reference.js'
import type { StorageDriver } from '../storage/driver.js'
import { attachedRoot, blobsPrefix, isMirrored, repositoriesPrefix, repositoryOf } from '../storage/layout.js'
import { repositoriesOnDisk } from '../storage/repositories.js'
import { storedDigests, tidyBelow } from '../storage/walk.js'
import type { Collection, RepositoryChanges } from './collection.js'
import { DigestSet } from './digest-set.js'
import { Pace, StoppedError } from './pace.js'
import { type Finding, type GcReport, noFindings } from './report.js'
import { type RetentionRule, retentionFor } from './retention.js'
import { sweepRepository } from './sweep-repository.js'
import { keepAll, sweepFiles, sweepMirrored, sweepRows } from './sweep-store.js'

/** In the index. */
const LAST = 'gc.last'

export interface GcPolicy {
  /** What was written or used within it stays, in ms. */
  graceMs: number
  retention: readonly RetentionRule[]
}

export interface CollectorDeps {
  driver: StorageDriver
  store: BlobStore
  index: MetadataIndex
  events: EventBus
  changes: RepositoryChanges
  /** Whether a repository, by its name on disk, is one that is pushed to. */
  isLocal: (repository: string) => boolean
  policy: () => GcPolicy
  log: Logger
  now: () => number
  /** Nothing is looked at before it resolves: the index may not know what was pushed. It rejects when the server stops. */
  trusted: Promise<void>
}

/** A run is under way already. */
export class GcBusyError extends Error {
  override readonly name = 'GcBusyError'

  constructor() {
    super('a garbage collection is running: ask again when it has ended')
  }
}

/** Finds what nothing needs any more and takes it away, beside pushes and pulls, one run at a time. */
export class Collector {
  readonly #deps: CollectorDeps
  readonly #log: Logger
  #pace: Pace | undefined
  #running: Promise<GcReport> | undefined
  #stopped = false

  constructor(deps: CollectorDeps) {
    this.#deps = deps
    this.#log = deps.log.child({ module: 'gc' })
  }

  /**
   * @param dryRun finds the same and changes nothing
   * @param onFound is told of each thing, and waited for
   * @throws {GcBusyError} while a run is under way; {StoppedError} after `stop`
   */
  async collect({ dryRun, onFound = async () => {} }: GcRequest): Promise<GcReport> {
    if (this.#running) throw new GcBusyError()
    if (this.#stopped) throw new StoppedError()
    const pace = new Pace()
    this.#pace = pace
    this.#running = this.#run({ dryRun, onFound }, pace).finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  /** Ends the run under way, which leaves the rest to the next one; what `trusted` waits for is to be stopped as well. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#pace?.stop()
    await this.#running
  }

  async #run({ dryRun, onFound }: Required<GcRequest>, pace: Pace): Promise<GcReport> {
    const startedAt = this.#deps.now()
    const report: GcReport = {
      dryRun,
      startedAt,
      durationMs: 0,
      steps: [],
      found: noFindings(),
      freedBytes: 0,
      damaged: 0,
      failed: 0,
    }
    const began = performance.now()
    const noted = this.#deps.store.noteUses()
    try {
      await this.#deps.trusted.catch(() => {
        throw new StoppedError()
      })
      await this.#steps(this.#collection({ report, onFound, pace }), report)
    } catch (error) {
      report.failure = error instanceof Error ? error.message : String(error)
      if (error instanceof StoppedError) this.#log.info('garbage collection ended early: the server stops')
      else this.#log.error({ err: error }, 'garbage collection failed; the next run goes on where it ended')
    } finally {
      noted()
    }
    report.durationMs = Math.round(performance.now() - began)
    const { steps, ...told } = report
    const times = Object.fromEntries(steps.map(({ name, durationMs }) => [name, durationMs]))
    // One that the server's end cut short is made up for soon after the start.
    if (!dryRun && !this.#stopped) this.#keep(report)
    if (report.failure === undefined) this.#log.info({ ...told, stepsMs: times }, 'garbage collected')
    return report
  }

  get busy(): boolean {
    return this.#running !== undefined
  }

  /** The last run that was no dry one, of an earlier process too. */
  get last(): GcReport | undefined {
    const text = this.#deps.index.getValue(LAST)
    return text === undefined ? undefined : (JSON.parse(text) as GcReport)
  }

  #keep(report: GcReport): void {
    try {
      this.#deps.index.setValue(LAST, JSON.stringify(report))
    } catch (error) {
      this.#log.warn({ reason: (error as Error).message }, 'that garbage was collected cannot be written down')
    }
  }

  async #steps({ run, stored }: { run: Collection; stored: DigestSet }, report: GcReport): Promise<void> {
    const { driver, pace } = run
    const step = async <Result>(name: string, work: () => Promise<Result>): Promise<Result> => {
      const began = performance.now()
      try {
        return await work()
      } finally {
        report.steps.push({ name, durationMs: Math.round(performance.now() - began) })
      }
    }
    await step('files', async () => {
      for await (const digest of storedDigests(driver)) {
        await pace.step()
        stored.add(digest)
      }
    })
    await step('repositories', () => this.#sweepRepositories(run))
    const rows = await step('rows', () => sweepRows(run))
    await step('strays', () => sweepFiles(rows, run))
    if (run.dryRun) return
    await step('folders', async () => {
      for (const prefix of [repositoriesPrefix, blobsPrefix]) await tidyBelow(driver, prefix, () => pace.step())
    })
  }

  async #sweepRepositories(run: Collection): Promise<void> {
    const ruleFor = retentionFor(this.#deps.policy().retention)
    let unknown: unknown
    const missed = (error: unknown) => {
      if (!isDiskFault(error)) throw error
      unknown ??= error
    }
    const unlisted = (folder: string, error: unknown) => {
      missed(error)
      run.failed(folder, error)
    }
    for await (const name of repositoriesOnDisk(run.driver, '', unlisted)) {
      // What is attached to a mirrored repository lives as long as somebody wants it there.
      const rule = name.startsWith(`${attachedRoot}/`) ? undefined : ruleFor(name)
      try {
        if (this.#deps.isLocal(name)) await sweepRepository(name, rule, run)
        else if (isMirrored(name)) await sweepMirrored(name, run)
        else await keepAll(name, run)
      } catch (error) {
        if (!isDiskFault(error)) throw error
        run.failed(name, error)
        if (!isMirrored(name)) await keepAll(name, run).catch(missed)
      }
    }
    // Any blob may be one of those that are linked where nobody can look, so none of them goes.
    if (unknown !== undefined) throw unknown
  }

  #collection({ report, onFound, pace }: { report: GcReport; onFound: OnFound; pace: Pace }) {
    const { driver, store, index, events, changes, policy } = this.#deps
    const { startedAt, dryRun } = report
    const stored = new DigestSet()
    const run: Collection = {
      ...{ driver, store, index, events, pace, startedAt, dryRun },
      changes: {
        alone: (name, work) => changes.alone(repositoryOf(name) as Repository, work),
        still: (name, work) => changes.still(repositoryOf(name) as Repository, work),
        isUploading: (name, since) => changes.isUploading(repositoryOf(name) as Repository, since),
      },
      cutoff: startedAt - policy().graceMs,
      live: new DigestSet(),
      // Where no blob at all has a file, it is the folder that is missing, a disk that is not there for example.
      isLost: (digest) => stored.size > 0 && !stored.has(digest),
      found: async (finding) => {
        report.found[finding.kind]++
        if (finding.kind === 'content') report.freedBytes += finding.bytes
        if ('repository' in finding) await onFound({ ...finding, repository: repositoryOf(finding.repository) })
        else await onFound(finding)
      },
      failed: (repository, err) => {
        report.failed++
        this.#log.error(
          { err, repository },
          'a repository could not be gone through, so what it links to is kept: see to the disk, the next run tries again',
        )
      },
      damaged: (repository, what) => {
        report.damaged++
        this.#log.warn(
          { repository, ...what },
          'a tag, or a manifest that is needed, cannot be read, so nothing of its repository is collected: push it again, or delete it',
        )
      },
    }
    return { run, stored }
  }
}

type OnFound = (finding: Finding) => Promise<void>

export interface GcRequest {
  dryRun: boolean
  onFound?: OnFound
}
