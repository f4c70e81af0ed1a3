import { type Logger, pino } from 'pino'
import type { LogLevel } from '../config/config.js'
import { LineWriter } from '../lib/line-writer.js'

/** Characters of lines that wait for whoever reads standard output. */
const WAITING_LIMIT = 16 * 1024 * 1024
const SECRETS = ['authorization', 'password', 'token']

/**
 * One JSON line an event, on standard output; no request waits for it. Errors are shown by name, message and stack alone:
 * what hangs on them may hold a header.
 *
 * @returns the log, and what changes the level of it and of every child that it has
 */
export function createLog(level: LogLevel): { log: Logger; setLevel: (level: LogLevel) => void } {
  const numberOf = (name: LogLevel) => (name === 'silent' ? Number.POSITIVE_INFINITY : pino.levels.values[name]!)
  let least = numberOf(level)
  const onLost = (lines: number) => {
    log.warn({ lines }, 'log lines were lost: standard output was not read, or could not be written')
  }
  const output = new LineWriter({ fd: process.stdout.fd, limit: WAITING_LIMIT, onLost })
  process.once('exit', () => output.flushSync())
  const log: Logger = pino(
    {
      // A child keeps the level that its parent had when it was made, so none has one, and each line is looked at.
      level: 'trace',
      hooks: {
        logMethod(line, write, value) {
          if (value >= least) write.apply(this, line)
        },
      },
      base: null,
      timestamp: timeOfDay(),
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: serializeError },
      redact: [...SECRETS, ...SECRETS.map((name) => `*.${name}`)],
    },
    output,
  )
  const setLevel = (name: LogLevel) => {
    least = numberOf(name)
  }
  return { log, setLevel }
}

/** Many lines fall into a millisecond, which need be printed once. */
function timeOfDay(): () => string {
  let last = 0
  let printed = ''
  return () => {
    const now = Date.now()
    if (now !== last) printed = `,"time":"${new Date(now).toISOString()}"`
    last = now
    return printed
  }
}

function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { message: String(error) }
  const { name, message, stack, cause } = error
  return { name, message, stack, ...(cause instanceof Error ? { cause: serializeError(cause) } : {}) }
}
