import { readdir, readFile, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

/** Ticks of /proc/<pid>/stat in a second (`getconf CLK_TCK` on Linux). */
const TICKS = 100

/** CPU time that a process and all below it have used until now, seconds; of children that have ended as well. */
export async function cpuSeconds(pid: number): Promise<number> {
  let ticks = 0
  for (const one of await treeOf(pid)) {
    const fields = await statOf(one)
    // utime and stime; of the root also cutime and cstime. A member may have ended just now.
    for (const at of one === pid ? [11, 12, 13, 14] : [11, 12]) ticks += Number(fields?.[at] ?? 0)
  }
  return ticks / TICKS
}

/** Resolves when nothing is done any more, within 5 s: what a server does after its answer is its cost all the same. */
export async function whenIdle(pid: number): Promise<void> {
  for (let [tries, before] = [0, -1]; tries < 50; tries++) {
    const now = await cpuSeconds(pid)
    if (now - before < 1.5 / TICKS) return
    before = now
    await sleep(100)
  }
}

/** The most memory that a process and all below it have had resident since `forgetPeak`, each at its own moment, MiB. */
export async function peakMiB(pid: number): Promise<number> {
  let kibibytes = 0
  for (const one of await treeOf(pid)) {
    const status = await readFile(`/proc/${one}/status`, 'utf8').catch(() => '')
    kibibytes += Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0)
  }
  return kibibytes / 1024
}

export async function forgetPeak(pid: number): Promise<void> {
  for (const one of await treeOf(pid)) await writeFile(`/proc/${one}/clear_refs`, '5')
}

/** A process and all below it. */
async function treeOf(root: number): Promise<number[]> {
  const childrenOf = new Map<number, number[]>()
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const parent = Number((await statOf(Number(name)))?.[1])
    childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), Number(name)])
  }
  const tree = [root]
  for (const pid of tree) tree.push(...(childrenOf.get(pid) ?? []))
  return tree
}

/** The fields from the state on; undefined when it has ended. */
async function statOf(pid: number): Promise<string[] | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  return stat?.replace(/^.*\) /s, '').split(' ')
}
