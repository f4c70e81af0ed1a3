import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Finished, type ProcessOptions, run } from '../helpers/process.js'
import { PUSHER } from '../helpers/token-service.js'

/** Runs one program of the podman family; an exit code other than 0 is an error. */
export type Tool = (...args: string[]) => Promise<Finished>

export interface Tools {
  podman: Tool
  buildah: Tool
  skopeo: Tool
}

/**
 * podman, buildah and skopeo with a store, a home and a registries.conf of their own under `folder`.
 * @param mirror `HOST:PORT` to be asked in docker.io's place; absent: no mirror
 */
export async function tools({
  folder,
  netns,
  mirror,
}: {
  folder: string
  netns?: string
  mirror?: string
}): Promise<Tools> {
  await mkdir(join(folder, 'tmp'), { recursive: true })
  const registriesConf = join(folder, 'registries.conf')
  await writeFile(registriesConf, registries(mirror))
  const authFile = join(folder, 'auth.json')
  await writeFile(authFile, '{}')
  const options: ProcessOptions = {
    netns,
    env: {
      ...{ HOME: folder, TMPDIR: join(folder, 'tmp'), CONTAINERS_REGISTRIES_CONF: registriesConf },
      REGISTRY_AUTH_FILE: authFile,
    },
  }
  const store = ['--root', join(folder, 'store'), '--runroot', join(folder, 'run'), '--storage-driver', 'vfs']
  return {
    podman: (...args) => run('podman', [...store, '--cgroup-manager', 'cgroupfs', ...args], options),
    buildah: (...args) => run('buildah', [...store, ...args], options),
    // It does not look at the variable.
    skopeo: (...args) => run('skopeo', ['--registries-conf', registriesConf, ...args], options),
  }
}

/** The arguments by which these programs push to the test's upstreams. */
export const AS_PUSHER = ['--creds', `${PUSHER.name}:${PUSHER.password}`]

function registries(mirror: string | undefined): string {
  const lines = ['unqualified-search-registries = ["docker.io"]', 'short-name-mode = "disabled"']
  if (!mirror) return lines.join('\n')
  return [
    ...lines,
    ...['[[registry]]', 'prefix = "docker.io"', 'location = "docker.io"'],
    ...['[[registry.mirror]]', `location = "${mirror}"`, 'insecure = true'],
    ...['[[registry]]', `location = "${mirror}"`, 'insecure = true'],
  ].join('\n')
}
