/** The index's tables, step by step; the number of steps applied is kept in SQLite's `user_version`. */
export const MIGRATIONS: readonly string[] = [
  `CREATE TABLE blobs (
     digest TEXT PRIMARY KEY,
     size INTEGER NOT NULL,
     manifest INTEGER NOT NULL,
     cached INTEGER NOT NULL DEFAULT 0,
     pushed INTEGER NOT NULL DEFAULT 0,
     source TEXT,
     used_at INTEGER NOT NULL
   ) WITHOUT ROWID, STRICT;
   CREATE INDEX blobs_by_use ON blobs (used_at) WHERE cached = 1 AND pushed = 0;
   CREATE TABLE children (
     parent TEXT NOT NULL,
     child TEXT NOT NULL,
     PRIMARY KEY (parent, child)
   ) WITHOUT ROWID, STRICT;
   CREATE TABLE vals (
     name TEXT PRIMARY KEY,
     value TEXT NOT NULL
   ) WITHOUT ROWID, STRICT;`,
]
