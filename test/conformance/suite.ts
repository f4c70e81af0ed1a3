import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { attempt, run } from '../helpers/process.js'

const PACKAGE = 'github.com/opencontainers/distribution-spec/conformance'
/** A first build fetches the modules. */
const BUILD_TIMEOUT_MS = 600_000

/** One leaf of the suite's tree, by the path of its names. */
export interface Verdict {
  name: string
  status: 'passed' | 'skipped' | 'failure' | 'error'
  /** The suite's own words. */
  text: string
}

export interface SuiteOptions {
  /** `host:port`, plain HTTP. */
  registry: string
  /** Where the suite is built, and leaves its reports. */
  folder: string
  env?: Record<string, string>
}

/**
 * Builds the official suite at the version that go.mod pins, and runs it with every API and all kinds of content that it
 * knows, those of the version that is being written included.
 *
 * @throws when it could not be built, or ended without a report
 */
export async function runSuite({ registry, folder, env = {} }: SuiteOptions): Promise<Verdict[]> {
  const program = join(folder, 'conformance')
  await run('go', ['build', '-o', program, PACKAGE], { cwd: import.meta.dirname, timeoutMs: BUILD_TIMEOUT_MS })
  const settings = {
    OCI_REGISTRY: registry,
    OCI_TLS: 'disabled',
    OCI_REPO1: 'local/conformance/one',
    OCI_REPO2: 'local/conformance/two',
    // Its defaults have what 1.1 leaves open switched off: uploads cancelled, digests in headers, tags as parameters.
    OCI_VERSION: 'dev',
    OCI_DATA_SPARSE: 'true',
    OCI_RESULTS_DIR: folder,
  }
  const { output } = await attempt(program, [], { cwd: folder, env: { ...settings, ...env } })
  const report = await readFile(join(folder, 'junit.xml'), 'utf8').catch((cause: unknown) => {
    throw new Error(`the suite left no report:\n${output}`, { cause })
  })
  return verdictsIn(report)
}

function verdictsIn(report: string): Verdict[] {
  const cases = report.matchAll(/<testcase name="([^"]*)"[^>]* status="([^"]*)"[^>]*>(.*?)<\/testcase>/gs)
  return [...cases].map(([, name = '', status, inside = '']) => ({
    name: plain(name),
    status: status as Verdict['status'],
    text: [textOf('system-out', inside), textOf('system-err', inside)].filter((text) => text !== '').join('\n'),
  }))
}

function textOf(element: string, xml: string): string {
  return plain(new RegExp(`<${element}>(.*?)</${element}>`, 's').exec(xml)?.[1] ?? '')
}

const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

function plain(xml: string): string {
  return xml.replaceAll(/&(?:#x([0-9A-Fa-f]+)|#(\d+)|(\w+));/g, (whole, hex?: string, decimal?: string, name = '') => {
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16))
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal))
    return ENTITIES[name] ?? whole
  })
}
