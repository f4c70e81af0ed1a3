import { readdir, readFile, readlink } from 'node:fs/promises'

/** What a process has open now: `socket:[1234]`, `/path/of/a/file`. */
export async function openBy(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`
  const links = await Promise.all(
    // One that is closed meanwhile is not open.
    (await readdir(folder)).map((name) => readlink(`${folder}/${name}`).catch(() => undefined)),
  )
  return links.filter((link) => link !== undefined)
}

/** Memory that a process has in use now, and had at most, bytes. */
export async function memoryOf(pid: number): Promise<{ now: number; peak: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024
  return { now: field('VmRSS'), peak: field('VmHWM') }
}
