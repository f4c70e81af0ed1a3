import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** Listens, and never accepts: its one process is busy waiting. */
const SCRIPT = `
  const server = require('node:net').createServer()
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
    require('node:fs').writeSync(1, server.address().port + '\\n')
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  })`

/** Enough to fill a backlog of one, whatever the kernel makes of it. */
const FILLERS = 6

export interface BlackHole {
  url: string
  close(): Promise<void>
}

/** An address on loopback where connecting hangs, as behind a firewall that drops packets: its backlog is full. */
export async function startBlackHole(): Promise<BlackHole> {
  const child = spawn(process.execPath, ['-e', SCRIPT], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const port = Number(line.toString())
  const fillers = Array.from({ length: FILLERS }, () => connect(port, '127.0.0.1').on('error', () => undefined))
  await Promise.race(fillers.map((filler) => once(filler, 'connect')))
  await hangs(port)
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      for (const filler of fillers) filler.destroy()
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

/** Until a connection does not come about within a tenth of a second. */
async function hangs(port: number): Promise<void> {
  for (let tries = 0; tries < 20; tries++) {
    const socket: Socket = connect(port, '127.0.0.1').on('error', () => undefined)
    const connected = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true))
      setTimeout(() => resolve(false), 100)
    })
    if (!connected) return void socket.destroy()
  }
  throw new Error('the backlog cannot be filled here')
}
