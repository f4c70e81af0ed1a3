import type { TagRecord } from './tag-record.js'

/** How far a tag's last answer may be trusted. A manifest asked for by digest never goes stale. */
export interface TagPolicy {
  /** Served without asking for this long after the last check, in milliseconds; 0 asks at every pull. */
  ttlMs: number
  /** Beyond that, served while nobody can answer, counted from the last check, in milliseconds. */
  staleIfErrorMs: number
  /** While no origin can be reached, an origin's last word stands for this long before mirrors may move it, in milliseconds. */
  originHoldMs: number
  /** Beyond `ttlMs`, served for this long without waiting for the news that is asked for meanwhile, in milliseconds. */
  staleWhileRevalidateMs: number
  /** What an origin's word that a known tag exists no more does: the last answer is served on, or forgotten. */
  whenGone: 'serve' | 'forget'
  /** Never asked for again once an origin has resolved it. */
  immutable: boolean
}

/**
 * Whether a known tag may be served unasked. What a mirror resolved is asked of the origin as soon as one can be
 * reached; a clock that was set back makes nothing eternal.
 */
export function isFresh(record: TagRecord, now: number, policy: TagPolicy, originReachable: boolean): boolean {
  if (record.resolvedBy === 'mirror' && originReachable) return false
  if (record.resolvedBy === 'origin' && policy.immutable) return true
  return within(now - record.checkedAt, policy.ttlMs)
}

/** Whether one that is no longer fresh is served at once, while it is asked for. */
export function isServedMeanwhile(record: TagRecord, now: number, policy: TagPolicy): boolean {
  if (record.resolvedBy === 'mirror' || policy.staleWhileRevalidateMs === 0) return false
  return within(now - record.checkedAt, policy.ttlMs + policy.staleWhileRevalidateMs)
}

/** Whether an origin's last word still stands although no origin can be reached now. */
export function isHeld(record: TagRecord, now: number, policy: TagPolicy): boolean {
  return record.resolvedBy === 'origin' && within(now - record.checkedAt, policy.originHoldMs)
}

/** Whether it may be served although nobody could answer. */
export function mayBeStale(record: TagRecord, now: number, policy: TagPolicy): boolean {
  return within(now - record.checkedAt, policy.ttlMs + policy.staleIfErrorMs)
}

function within(ageMs: number, limitMs: number): boolean {
  // A check that seems to lie in the future was made by another clock: as good as just now, but never fresh.
  return ageMs < 0 ? limitMs > 0 && -ageMs < limitMs : ageMs < limitMs
}
