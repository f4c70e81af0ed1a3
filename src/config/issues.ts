/** A fault, before it has a place in the file. */
export interface Issue {
  /** Keys and indexes from the top of the file down. */
  path: PropertyKey[]
  message: string
  /** The key itself is at fault, not its value. */
  atKey?: boolean
}

/** Stands for a value that could not be had and is reported already: further issues with it say nothing new. */
export const BROKEN = '\0broken'

/** `undefined` where the path leads nowhere. */
export function valueAt(value: unknown, path: PropertyKey[]): unknown {
  return path.reduce<unknown>((at, key) => (typeof at === 'object' && at ? Reflect.get(at, key) : undefined), value)
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A map's keys and values, or none for anything else: for looking at what has not passed the schema. */
export function entriesOf(value: unknown): [string, unknown][] {
  return isMap(value) ? Object.entries(value) : []
}

/** A list's items, or none for anything else. */
export function itemsOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : []
}
