/** A quantity that cannot be read; the message says what is wrong and shows a right one. */
export class UnitError extends Error {
  override readonly name = 'UnitError'
}

const BYTES = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
} as const

const MILLISECONDS = { ms: 1, s: 1e3, m: 60e3, h: 3600e3, d: 86_400e3 } as const

interface Measure {
  what: string
  units: Record<string, number>
  example: string
}

const SIZE: Measure = { what: 'a size', units: BYTES, example: '50GiB' }
const DURATION: Measure = { what: 'a duration', units: MILLISECONDS, example: '30s' }

/**
 * `50GiB`, `1.5 MB`: KB, MB, GB and TB are powers of 1000, KiB to TiB of 1024.
 *
 * @returns whole bytes
 * @throws {UnitError}
 */
export function parseBytes(text: string): number {
  return parse(text, SIZE)
}

/**
 * `250ms`, `30s`, `5m`, `24h`, `30d`.
 *
 * @returns whole milliseconds
 * @throws {UnitError}
 */
export function parseDuration(text: string): number {
  return parse(text, DURATION)
}

/**
 * `90%`: above 0 and at most 100.
 *
 * @returns the share, 0.9
 * @throws {UnitError}
 */
export function parsePercent(text: string): number {
  const shown = JSON.stringify(text)
  const [, digits] = /^(-?\d+(?:\.\d+)?) ?%$/.exec(text) ?? []
  if (digits === undefined) throw new UnitError(`${shown} is not a percentage: write a number and %, as in 90%`)
  const percent = Number(digits)
  if (percent > 0 && percent <= 100) return percent / 100
  throw new UnitError(`${shown} is out of range: above 0% and at most 100%`)
}

/** For people: `1.5 GiB`, three digits at most before the unit grows, never more than one decimal. */
export function printBytes(bytes: number): string {
  return print(bytes, [
    ['TiB', BYTES.TiB],
    ['GiB', BYTES.GiB],
    ['MiB', BYTES.MiB],
    ['KiB', BYTES.KiB],
    ['B', 1],
  ])
}

/** For people: `250 ms`, `1.5 s`, `2 h`. */
export function printDuration(milliseconds: number): string {
  return print(milliseconds, [
    ['d', MILLISECONDS.d],
    ['h', MILLISECONDS.h],
    ['m', MILLISECONDS.m],
    ['s', MILLISECONDS.s],
    ['ms', 1],
  ])
}

function parse(text: string, { what, units, example }: Measure): number {
  const shown = JSON.stringify(text)
  const [, sign, digits = '', unit = ''] = /^(-?)(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(text) ?? []
  const names = Object.keys(units).join(', ')
  if (digits === '')
    throw new UnitError(`${shown} is not ${what}: write a number and one of ${names}, as in ${example}`)
  if (sign === '-') throw new UnitError(`${shown} is negative`)
  if (unit === '') throw new UnitError(`${shown} needs a unit: one of ${names}, as in ${example}`)
  const factor = units[unit]
  if (factor === undefined) {
    const meant = Object.keys(units).find((name) => name.toLowerCase() === unit.toLowerCase())
    const hint = meant ? `did you mean ${digits}${meant}?` : `it is one of ${names}, as in ${example}`
    throw new UnitError(`${shown} has an unknown unit: ${hint}`)
  }
  const amount = Math.round(Number(digits) * factor)
  if (!Number.isSafeInteger(amount)) throw new UnitError(`${shown} is too large`)
  return amount
}

/** @param units largest first; the last one is never split */
function print(amount: number, units: [string, number][]): string {
  const rounded = (factor: number) => (factor === 1 ? Math.round(amount) : Math.round((amount / factor) * 10) / 10)
  const [name, factor] = units.find(([, size]) => rounded(size) >= 1) ?? units.at(-1)!
  return `${rounded(factor)} ${name}`
}
