/** Bytes `start` to `end`, both inclusive. */
export interface ByteRange {
  start: number
  end: number
}

/** More ranges than this in one request are answered with the whole (RFC 9110, 14.2: a server may ignore Range). */
const RANGES_LIMIT = 64

/**
 * What a Range header asks of `size` bytes (RFC 9110, section 14).
 *
 * @returns `undefined` to ignore it (absent, malformed or another unit), 'unsatisfiable' for a 416
 */
export function parseRange(header: string | undefined, size: number): ByteRange[] | 'unsatisfiable' | undefined {
  const specs = /^bytes=(.+)$/i.exec(header?.trim() ?? '')?.[1]?.split(',')
  if (!specs || specs.length > RANGES_LIMIT) return undefined
  const ranges: ByteRange[] = []
  for (const spec of specs) {
    const [, first = '', last = ''] = /^\s*(\d*)-(\d*)\s*$/.exec(spec) ?? []
    if (first === '' && last === '') return undefined
    const start = first === '' ? Math.max(0, size - Number(last)) : Number(first)
    const end = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1)
    // Backwards is invalid, and may be ignored or rejected (RFC 9110, 14.2); the official suite wants it rejected.
    if (first !== '' && last !== '' && Number(last) < Number(first)) return 'unsatisfiable'
    const wanted = first === '' ? Number(last) > 0 && size > 0 : start < size
    if (wanted) ranges.push({ start, end })
  }
  // Ranges that overlap so much that they come to more than the whole are a fault or an attack (RFC 9110, 14.2).
  const wanted = ranges.reduce((sum, { start, end }) => sum + end - start + 1, 0)
  if (wanted > size) return undefined
  return ranges.length > 0 ? ranges : 'unsatisfiable'
}

/** Where the first range of a Range header begins: below 0 so many bytes before the end; 0 where it says nothing. */
export function firstPosition(header: string | undefined): number {
  const [, first = '', last = ''] = /^bytes=\s*(\d{0,15})-(\d{0,15})/i.exec(header?.trim() ?? '') ?? []
  return first === '' ? -Number(last) : Number(first)
}

/**
 * `bytes 0-99/1000` of a 206 (RFC 9110, 14.4); `total` is undefined for `*`.
 *
 * @returns `undefined` when it is malformed or contradicts itself
 */
export function parseContentRange(header: string | undefined): (ByteRange & { total: number | undefined }) | undefined {
  const [, start, end, total] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/i.exec(header?.trim() ?? '') ?? []
  if (start === undefined || end === undefined) return undefined
  const range = { start: Number(start), end: Number(end), total: total === '*' ? undefined : Number(total) }
  const contradicts = range.end < range.start || (range.total !== undefined && range.total <= range.end)
  return contradicts ? undefined : range
}

/** The Content-Range of a chunk that is pushed, `0-99` without a unit (distribution specification, end-5). */
export function parseChunkRange(header: string): ByteRange | undefined {
  const [, start, end] = /^(?:bytes[ =])?(\d+)-(\d+)$/i.exec(header.trim()) ?? []
  if (start === undefined || end === undefined || Number(end) < Number(start)) return undefined
  return { start: Number(start), end: Number(end) }
}
