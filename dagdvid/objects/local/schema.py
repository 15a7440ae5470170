"""The tables of the store in the embedded database (SPEC 4.5)."""

from __future__ import annotations

__all__ = ["TABLES"]

TABLES = """
CREATE TABLE IF NOT EXISTS packs (
    no      INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: other processes keep packs open by it
    name    TEXT NOT NULL UNIQUE,       -- hex of the pack id; the file is packs/<name>.pack
    kind    INTEGER NOT NULL,           -- 1 nodes, 2 blobs
    state   TEXT NOT NULL,              -- open: one process appends; sealed: final, with an index; dead: to be removed
    length  INTEGER NOT NULL            -- bytes that count; what lies beyond was never acknowledged
);
CREATE TABLE IF NOT EXISTS entries (    -- objects in open packs; sealed packs have their own index
    id      BLOB PRIMARY KEY,
    pack    INTEGER NOT NULL,
    start   INTEGER NOT NULL,
    stored  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tiers (      -- files that index many sealed packs: indexes/<name>.tier
    no      INTEGER PRIMARY KEY AUTOINCREMENT,
    name    TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS tiered (     -- the packs in each
    pack    INTEGER PRIMARY KEY,
    tier    INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS counters (   -- numbers that only grow, for all processes
    name    TEXT PRIMARY KEY,
    value   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (      -- while garbage is collected: what refs named, or somebody relied on
    no      INTEGER PRIMARY KEY AUTOINCREMENT,
    kind    TEXT NOT NULL,
    id      BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS collected (  -- the last collection
    state   TEXT NOT NULL,              -- what was there when it ended: while that is so, nothing is left to collect
    result  TEXT NOT NULL               -- JSON
);
CREATE TABLE IF NOT EXISTS condemned (  -- packs that are about to go: what lies in them is stored again
    pack    INTEGER PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS lost (       -- objects that a repair found nowhere
    id      BLOB PRIMARY KEY,
    noted   TEXT NOT NULL               -- when, RFC 3339
) WITHOUT ROWID;
"""
