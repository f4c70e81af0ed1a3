import { run } from '../helpers/process.js'

/**
 * The network of a run: all of these networks are on the loopback device of the private network namespace, so any address
 * of them can be listened on. Nothing has a route to the outside.
 */
export const WORLD = {
  /** Upstreams. To the mirror these are addresses of the public Internet (they are documentation's: RFC 5737). */
  upstreams: '198.51.100.1',
  /** Stores that upstreams redirect to, and token services of other owners: public as well. */
  elsewhere: '203.0.113.1',
  /** What an upstream may not lead to, unless the operator allowed it. */
  inside: '10.98.0.1',
  /** An IPv6 address that can be listened on (documentation's: RFC 3849). */
  upstreams6: '2001:db8::1',
} as const

/** Makes it. Needs no undoing: it vanishes with the namespaces of the run. */
export async function buildWorld(): Promise<void> {
  await run('ip', ['link', 'set', 'lo', 'up'])
  for (const address of [WORLD.upstreams, WORLD.elsewhere, WORLD.inside]) {
    await run('ip', ['addr', 'add', `${address}/24`, 'dev', 'lo'])
  }
  await run('ip', ['-6', 'addr', 'add', `${WORLD.upstreams6}/64`, 'dev', 'lo', 'nodad'])
}

/**
 * Packets to this address and port are dropped, so that connecting hangs and connections that stand go silent.
 *
 * @returns what ends it; may be called again
 */
export async function blackHole({ address, port }: { address: string; port: number }): Promise<() => Promise<void>> {
  const program = programFor(address)
  const rule = ['OUTPUT', '-p', 'tcp', '-d', address, '--dport', String(port), '-j', 'DROP']
  await run(program, ['-w', '-A', ...rule])
  let ended = false
  return async () => {
    if (ended) return
    ended = true
    await run(program, ['-w', '-D', ...rule])
  }
}

/** How many packets to this address and port were dropped. */
export async function droppedAt({ address, port }: { address: string; port: number }): Promise<number> {
  const { stdout } = await run(programFor(address), ['-w', '-nvxL', 'OUTPUT'])
  const rule = stdout.split('\n').find((line) => line.includes(address) && line.endsWith(`dpt:${port}`))
  return Number(rule?.trim().split(/\s+/)[0] ?? 0)
}

function programFor(address: string): string {
  return address.includes(':') ? 'ip6tables' : 'iptables'
}
