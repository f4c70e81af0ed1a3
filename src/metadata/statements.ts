import type { DatabaseSyncInstance } from '@photostructure/sqlite'

/** Files take whole blocks; a manifest's link takes one more. */
const BLOCK = 4096

/** What a blob of `size` bytes takes on disk. */
export function sizeOnDisk(size: number, manifest: boolean): number {
  return Math.ceil(size / BLOCK) * BLOCK + (manifest ? BLOCK : 0)
}

/** Every statement on the index's tables. */
export function prepare(db: DatabaseSyncInstance) {
  const block = `((size + ${BLOCK - 1}) / ${BLOCK} * ${BLOCK} + manifest * ${BLOCK})`
  return {
    find: db.prepare('SELECT digest, size, manifest, cached, pushed, source, used_at FROM blobs WHERE digest = ?'),
    addCached: db.prepare(
      `INSERT INTO blobs (digest, size, manifest, cached, source, used_at) VALUES (?1, ?2, ?3, 1, ?4, ?5)
       ON CONFLICT DO UPDATE SET size = ?2, cached = 1, source = coalesce(?4, source), used_at = ?5`,
    ),
    addPushed: db.prepare(
      `INSERT INTO blobs (digest, size, manifest, pushed, used_at) VALUES (?1, ?2, ?3, 1, ?4)
       ON CONFLICT DO UPDATE SET size = ?2, pushed = 1, used_at = ?4`,
    ),
    addFound: db.prepare(
      `INSERT INTO blobs (digest, size, manifest, cached, pushed, used_at) VALUES (?1, ?2, ?3, 1 - ?4, ?4, ?5)
       ON CONFLICT DO NOTHING`,
    ),
    dropCached: db.prepare('UPDATE blobs SET cached = 0 WHERE digest = ?'),
    dropPushed: db.prepare('UPDATE blobs SET pushed = 0 WHERE digest = ?'),
    dropUnneeded: db.prepare('DELETE FROM blobs WHERE digest = ? AND cached = 0 AND pushed = 0'),
    dropChildren: db.prepare('DELETE FROM children WHERE parent = ?'),
    addChild: db.prepare('INSERT OR IGNORE INTO children (parent, child) VALUES (?, ?)'),
    touch: db.prepare(
      `WITH RECURSIVE used (digest) AS (VALUES (?1) UNION SELECT child FROM children JOIN used ON parent = used.digest)
       UPDATE blobs SET used_at = max(used_at, ?2) WHERE digest IN (SELECT digest FROM used)`,
    ),
    oldest: db.prepare(
      `SELECT digest, size, cached, pushed, source, used_at FROM blobs
       WHERE cached = 1 AND pushed = 0 ORDER BY used_at LIMIT ?`,
    ),
    rowsAfter: db.prepare(
      'SELECT digest, size, cached, pushed, source, used_at FROM blobs WHERE digest > ? ORDER BY digest LIMIT ?',
    ),
    totals: db.prepare(
      `SELECT coalesce(sum(cached = 1 AND manifest = 0), 0) AS blobs,
              coalesce(sum(cached = 1 AND manifest = 1), 0) AS manifests,
              coalesce(sum(CASE WHEN cached = 1 AND pushed = 0 THEN ${block} ELSE 0 END), 0) AS sizeBytes,
              coalesce(sum(CASE WHEN pushed = 1 THEN size ELSE 0 END), 0) AS pushedBytes
       FROM blobs`,
    ),
    getValue: db.prepare('SELECT value FROM vals WHERE name = ?'),
    setValue: db.prepare('INSERT INTO vals (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2'),
  }
}
