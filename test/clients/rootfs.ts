import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../helpers/process.js'

const SUITE = 'bookworm'

/**
 * A Debian root file system as a tar archive, made by debootstrap from the machine's own Debian mirror.
 * Kept between runs in a folder under the temporary folder, since it takes about a minute.
 */
export async function debianRootFs(): Promise<string> {
  const cache = join(tmpdir(), 'entrepot-clients-cache')
  const archive = join(cache, `rootfs-${SUITE}.tar`)
  if (existsSync(archive)) return archive
  await mkdir(cache, { recursive: true })
  const folder = await mkdtemp(join(cache, 'making-'))
  const files = join(folder, 'files')
  const timeoutMs = 600_000
  await run('debootstrap', ['--variant=minbase', SUITE, files, debianMirror()], { timeoutMs })
  await rm(join(files, 'var/cache/apt'), { recursive: true })
  await run('tar', ['-C', files, '--numeric-owner', '--exclude=./dev', '-cf', join(folder, 'rootfs.tar'), '.'])
  await rename(join(folder, 'rootfs.tar'), archive)
  await rm(folder, { recursive: true })
  return archive
}

/** The first Debian mirror that apt is configured with, in either of its two formats. */
function debianMirror(): string {
  const folder = '/etc/apt/sources.list.d'
  const files = ['/etc/apt/sources.list', ...readdirSync(folder).map((file) => join(folder, file))]
  const texts = files.filter((file) => existsSync(file)).map((file) => readFileSync(file, 'utf8'))
  const urls = texts.flatMap(
    (text) => text.match(/^(?:URIs:|deb\s)[^#\n]*?(https?:\/\/\S+\/debian)\/?(?=\s|$)/gm) ?? [],
  )
  return urls[0]?.match(/https?:\S+/)?.[0] ?? 'http://deb.debian.org/debian'
}
