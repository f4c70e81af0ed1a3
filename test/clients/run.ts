import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { attempt } from './process.js'
import { debianRootFs } from './rootfs.js'

/**
 * `npm run test:clients [vitest arguments]`, as root. Starts vitest in private network, mount and process namespaces: the
 * kernel ends every process, mount and link of a run with it, also when it is killed. Only its folder has to be removed.
 */
const PREFIX = 'entrepot-clients-run-'

/** Program and Debian package of everything that a run needs; .ci/run installs the same packages. */
const NEEDED: Record<string, string> = {
  dockerd: 'docker.io',
  docker: 'docker.io',
  containerd: 'containerd',
  ctr: 'containerd',
  podman: 'podman',
  buildah: 'buildah',
  skopeo: 'skopeo',
  umoci: 'umoci',
  runc: 'runc',
  busybox: 'busybox-static',
  'docker-registry': 'docker-registry',
  debootstrap: 'debootstrap',
  openssl: 'openssl',
  ip: 'iproute2',
  iptables: 'iptables',
  nsenter: 'util-linux',
  tar: 'tar',
}

async function main(): Promise<number> {
  if (process.getuid?.() !== 0)
    throw new Error('test:clients makes network namespaces and starts dockerd: run it as root')
  await refuseMissing()
  const rootFs = await debianRootFs()
  await removeStale()
  const root = await mkdtemp(join(tmpdir(), PREFIX))
  await writeFile(join(root, 'owner'), String(process.pid))
  try {
    return await runVitest({ ENTREPOT_CLIENTS_ROOT: root, ENTREPOT_CLIENTS_ROOTFS: rootFs })
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

/** A client that is missing fails the run: nothing is skipped. */
async function refuseMissing(): Promise<void> {
  const missing: string[] = []
  for (const [program, debianPackage] of Object.entries(NEEDED)) {
    const { code } = await attempt('sh', ['-c', `command -v ${program}`])
    if (code !== 0) missing.push(`${program} (Debian: ${debianPackage})`)
  }
  if (missing.length > 0) throw new Error(`missing: ${missing.join(', ')}`)
}

/** Folders of runs whose process is gone. */
async function removeStale(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(PREFIX)) continue
    const owner = await readFile(join(tmpdir(), name, 'owner'), 'utf8').catch(() => '')
    if (owner && existsSync(`/proc/${owner}`)) continue
    await rm(join(tmpdir(), name), { recursive: true, force: true })
  }
}

async function runVitest(env: Record<string, string>): Promise<number> {
  const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/clients/vitest.config.ts']
  const child = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL', 'unshare', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'],
      ...[process.execPath, ...vitest, ...process.argv.slice(2)],
    ],
    { stdio: 'inherit', cwd: join(import.meta.dirname, '../..'), env: { ...process.env, ...env } },
  )
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill('SIGKILL'))
  const [code] = (await once(child, 'exit')) as [number | null]
  return code ?? 1
}

process.exitCode = await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  return 1
})
