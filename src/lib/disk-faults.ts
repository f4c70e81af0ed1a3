const FULL = new Set<unknown>(['ENOSPC', 'EDQUOT'])
/** Damage, a file or folder of the wrong kind, or one that this process may not touch. */
const BROKEN = new Set<unknown>([
  'EIO',
  'EBADMSG',
  'EUCLEAN',
  'ESTALE',
  'ELOOP',
  'ENOTDIR',
  'EISDIR',
  'EACCES',
  'EPERM',
  'EROFS',
])

/** Whether a write failed since the disk, or the share of it that one may use, is full. */
export function isNoRoom(error: unknown): boolean {
  return FULL.has(codeOf(error))
}

/** Whether something went wrong with a file, as it may with one and not with the next. */
export function isDiskFault(error: unknown): boolean {
  return isNoRoom(error) || BROKEN.has(codeOf(error))
}

function codeOf(error: unknown): unknown {
  return ((error ?? {}) as { code?: unknown }).code
}
