import { CheckError } from './client.js'
import { ownSteps } from './own-steps.js'
import { serverSteps } from './server-steps.js'

export interface DoctorOptions {
  /** A running server to ask; undefined: a server and an upstream of its own, on loopback, in a temporary folder. */
  server: string | undefined
  /** Takes the report, a line at a time. */
  out: (line: string) => void
  err: (line: string) => void
}

/**
 * `entrepot doctor`: shows the main job, a line a step, and stops at the first step that fails.
 *
 * @returns the exit code: 0 all seen, 1 otherwise
 */
export async function doctor({ server, out, err }: DoctorOptions): Promise<number> {
  const { steps, close } = server === undefined ? await ownSteps() : serverSteps(server)
  const width = Math.max(...steps.map(({ name }) => name.length))
  try {
    for (const { name, run } of steps) {
      try {
        out(`ok    ${name.padEnd(width)}  ${await run()}`)
      } catch (error) {
        err(`FAIL  ${name.padEnd(width)}  ${reasonOf(error)}`)
        return 1
      }
    }
    out(`all ${steps.length} steps passed`)
    return 0
  } finally {
    await close()
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof CheckError) return error.message
  const { message, cause } = error as Error
  return cause instanceof Error ? `${message}: ${cause.message}` : message
}
