"""The tables of repos in the embedded database (SPEC 6.5). What is immutable lies in objects; this is what moves."""

from __future__ import annotations

__all__ = ["TABLES"]

TABLES = """
CREATE TABLE IF NOT EXISTS repos (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    root        TEXT NOT NULL UNIQUE,       -- UUID of the root version
    record      BLOB NOT NULL,              -- the ref of the repo record: id of a record object
    updated     TEXT NOT NULL,
    generation  INTEGER NOT NULL            -- when it last changed, in the count of counters.generation
);
CREATE TABLE IF NOT EXISTS versions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    repo        INTEGER NOT NULL REFERENCES repos (id),
    uuid        TEXT NOT NULL UNIQUE,
    branch      TEXT NOT NULL,              -- '' is master
    parents     TEXT NOT NULL,              -- JSON list of UUIDs
    note        TEXT NOT NULL,
    log         TEXT NOT NULL,              -- JSON list
    user        TEXT NOT NULL DEFAULT '',
    created     TEXT NOT NULL,
    updated     TEXT NOT NULL,
    state       TEXT NOT NULL,              -- open; sealed: locked, not yet folded into trees; committed
    commit_id   BLOB,                       -- the ref: id of a commit object, once committed
    base        BLOB,                       -- of an open merge: the merged version tree that its staging lies over
    epoch       INTEGER NOT NULL DEFAULT 0  -- rises when its staging is folded
);
CREATE INDEX IF NOT EXISTS versions_of_repo ON versions (repo);
CREATE TABLE IF NOT EXISTS data (           -- local numbers of instances
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid        TEXT NOT NULL UNIQUE,
    record      BLOB,                       -- unversioned instances: the ref, id of a record object
    epoch       INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS staging (        -- changes since the last commit; version 0 for unversioned instances
    version     INTEGER NOT NULL,
    data        INTEGER NOT NULL,
    space       TEXT NOT NULL,
    key         BLOB NOT NULL,
    kind        INTEGER NOT NULL,           -- 0 inline, 1 blob, 2 blob list, 3 removed
    value       BLOB NOT NULL,              -- inline bytes or object id
    size        INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    PRIMARY KEY (version, data, space, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS passcodes (      -- what must be said to rename or delete: of this server alone
    repo        INTEGER PRIMARY KEY REFERENCES repos (id),
    salt        BLOB NOT NULL,
    hash        BLOB NOT NULL               -- scrypt
);
CREATE TABLE IF NOT EXISTS remotes (
    repo        INTEGER NOT NULL REFERENCES repos (id),
    name        TEXT NOT NULL,
    url         TEXT NOT NULL,
    PRIMARY KEY (repo, name)
) WITHOUT ROWID;
"""
