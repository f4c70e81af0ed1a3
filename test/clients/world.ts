import { mkdir } from 'node:fs/promises'
import { run } from '../helpers/process.js'

/**
 * The network of a run, inside the private network namespace that run.ts made: a bridge, and on it one namespace for the
 * mirror and one for each group of clients. Nothing here has a route to the outside, so docker.io is out of reach.
 */
export const WORLD = {
  /** Upstreams, token service and the harness itself listen here. */
  upstreamAddress: '10.99.0.1',
  mirror: { netns: 'mirror', address: '10.99.0.2' },
  dockerA: { netns: 'docker-a', address: '10.99.0.3' },
  dockerB: { netns: 'docker-b', address: '10.99.0.4' },
  tools: { netns: 'tools', address: '10.99.0.5' },
} as const

/** Makes it. Needs no undoing: mounts, links and namespaces vanish with the namespaces of the run. */
export async function buildWorld(): Promise<void> {
  await coverWithEmptyFolder('/run')
  await coverWithEmptyFolder('/var/lib/containers')
  await run('ip', ['link', 'set', 'lo', 'up'])
  await run('ip', ['link', 'add', 'upstreams', 'type', 'bridge'])
  await run('ip', ['addr', 'add', `${WORLD.upstreamAddress}/24`, 'dev', 'upstreams'])
  await run('ip', ['link', 'set', 'upstreams', 'up'])
  for (const place of [WORLD.mirror, WORLD.dockerA, WORLD.dockerB, WORLD.tools]) await addNamespace(place)
}

/** Sockets and state of the machine's own daemons are not seen, and none of ours are left there. */
async function coverWithEmptyFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true })
  await run('mount', ['-t', 'tmpfs', 'tmpfs', path])
}

async function addNamespace({ netns, address }: { netns: string; address: string }): Promise<void> {
  await run('ip', ['netns', 'add', netns])
  await run('ip', ['link', 'add', `to-${netns}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns])
  await run('ip', ['link', 'set', `to-${netns}`, 'master', 'upstreams', 'up'])
  await run('ip', ['-n', netns, 'addr', 'add', `${address}/24`, 'dev', 'eth0'])
  await run('ip', ['-n', netns, 'link', 'set', 'eth0', 'up'])
  await run('ip', ['-n', netns, 'link', 'set', 'lo', 'up'])
}

/** Packets from the mirror to `port` of the upstreams' address are dropped, so that connects hang; the returned function ends that. */
export async function dropPackets(port: number): Promise<() => Promise<void>> {
  const rule = ['OUTPUT', '-p', 'tcp', '-d', WORLD.upstreamAddress, '--dport', String(port), '-j', 'DROP']
  await run('iptables', ['-w', '-A', ...rule], WORLD.mirror)
  return async () => {
    await run('iptables', ['-w', '-D', ...rule], WORLD.mirror)
  }
}
