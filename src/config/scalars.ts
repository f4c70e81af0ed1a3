import { z } from 'zod'
import { parseBytes, parseDuration, parsePercent, UnitError } from '../lib/units.js'

interface Bounds {
  /** The amount must be larger than this. */
  above?: number
  least?: { ms: number; text: string }
  most?: { ms: number; text: string }
}

/** Text that `read` turns into a value; what `read` throws as `UnitError` is the fault. Bare numbers reach it as text. */
export function quantity<Value>(read: (text: string) => Value) {
  return z
    .union([z.string(), z.number()], { error: ({ input }) => `expected text, found ${kindOf(input)}` })
    .transform((written, context): Value => {
      try {
        return read(String(written))
      } catch (error) {
        if (!(error instanceof UnitError)) throw error
        context.addIssue({ code: 'custom', message: error.message })
        return z.NEVER
      }
    })
}

export function size({ above = -1 }: Bounds = {}) {
  return quantity((text) => {
    const bytes = parseBytes(text)
    if (bytes <= above) throw new UnitError(`${JSON.stringify(text)} is too small: it must be more than ${above}`)
    return bytes
  })
}

export function duration({ above = -1, least, most }: Bounds = {}) {
  return quantity((text) => {
    const ms = parseDuration(text)
    if (ms <= above) throw new UnitError(`${JSON.stringify(text)} is too short: it must be more than ${above}`)
    if (least && ms < least.ms) throw new UnitError(`${JSON.stringify(text)} is too short: at least ${least.text}`)
    if (most && ms > most.ms) throw new UnitError(`${JSON.stringify(text)} is too long: at most ${most.text}`)
    return ms
  })
}

export function percent() {
  return quantity(parsePercent)
}

/** A percentage that may be nothing. */
export function share() {
  return quantity((text) => (/^0 ?%$/.test(text) ? 0 : parsePercent(text)))
}

/** A whole number; also as text, which is what an environment variable gives. */
export function count({ least, most }: { least: number; most: number }) {
  return quantity((text) => {
    const number = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
    if (number >= least && number <= most) return number
    throw new UnitError(`${JSON.stringify(text)} is not a whole number from ${least} to ${most}`)
  })
}

/** `true` or `false`; also as text, which is what an environment variable gives. */
export function flag() {
  return z
    .union([z.boolean(), z.enum(['true', 'false'])], {
      error: ({ input }) => `expected true or false, found ${kindOf(input)}`,
    })
    .transform((written) => written === true || written === 'true')
}

/** @param expected completes "is not ..." */
export function scalar(pattern: RegExp, expected: string) {
  return z.string().regex(pattern, { error: ({ input }) => `${JSON.stringify(input)} is not ${expected}` })
}

/** What a person calls it. */
export function kindOf(value: unknown): string {
  if (value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map of keys'
  if (typeof value === 'string') return 'text'
  return typeof value === 'boolean' ? 'true or false' : 'a number'
}
