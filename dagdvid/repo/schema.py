"""The tables of repos in the embedded database (SPEC 6.5). What is immutable lies in objects; this is what moves."""

from __future__ import annotations

__all__ = ["REFLOG_DAYS", "TABLES"]

REFLOG_DAYS = 30
"""Days that a movement of a ref is remembered, and what it moved away from is kept."""

_NOW = "%Y-%m-%dT%H:%M:%fZ"
_TIME = f"strftime('{_NOW}', 'now')"

_TABLES = """
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
CREATE TABLE IF NOT EXISTS touched (        -- when versions changed last; they go with their repo only
    version     INTEGER PRIMARY KEY,
    repo        INTEGER NOT NULL,
    generation  INTEGER NOT NULL            -- not before it, in the count of counters.generation
);
CREATE INDEX IF NOT EXISTS touched_in ON touched (repo, generation);
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
CREATE TABLE IF NOT EXISTS conflicts (      -- of open merges: keys that both parents changed differently, not decided
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    version     INTEGER NOT NULL REFERENCES versions (id),
    data        INTEGER NOT NULL,
    space       TEXT NOT NULL,
    key         BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS conflicts_of_version ON conflicts (version, id);
CREATE TABLE IF NOT EXISTS passcodes (      -- what must be said to rename or delete: of this server alone
    repo        INTEGER PRIMARY KEY REFERENCES repos (id),
    salt        BLOB NOT NULL,
    hash        BLOB NOT NULL               -- scrypt
);
CREATE TABLE IF NOT EXISTS runs (           -- staged changes that are trees and not rows
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    version     INTEGER NOT NULL,
    data        INTEGER NOT NULL,
    space       TEXT NOT NULL,
    after       INTEGER NOT NULL,           -- its changes have sequence numbers above this
    last        INTEGER NOT NULL,           -- up to this one
    entries     INTEGER NOT NULL,
    size        INTEGER NOT NULL,           -- bytes of their keys and values
    held        BLOB NOT NULL,              -- root of the tree of keys set
    removed     BLOB NOT NULL               -- root of the tree of keys removed
);
CREATE INDEX IF NOT EXISTS runs_staged ON runs (version, data, space, last);
CREATE TABLE IF NOT EXISTS latencies (      -- who asked last whether the server is alive, and how fast it answered
    user        TEXT PRIMARY KEY,
    last_ping   TEXT NOT NULL,
    last        INTEGER NOT NULL,           -- milliseconds, as the next two
    least       INTEGER NOT NULL,
    most        INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ids (            -- numbers that this server may give out (SPEC 6.10); rows are never removed
    root        TEXT NOT NULL,              -- UUID of the repo's root version
    counter     TEXT NOT NULL,              -- mutation, or label/<data uuid>
    first       INTEGER NOT NULL,
    next        INTEGER NOT NULL,           -- the next to be given out; all are if it is above `last`
    last        INTEGER NOT NULL,
    PRIMARY KEY (root, counter, first)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bases (          -- where objects of a repo lie that are not here (SPEC 8.10)
    repo        TEXT NOT NULL,              -- UUID of the root version
    url         TEXT NOT NULL,
    kind        TEXT NOT NULL,              -- site or server
    heads       TEXT NOT NULL,              -- of a site: JSON list of the names of heads
    PRIMARY KEY (repo, url)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS remotes (
    repo        INTEGER NOT NULL REFERENCES repos (id),
    name        TEXT NOT NULL,
    url         TEXT NOT NULL,
    PRIMARY KEY (repo, name)
) WITHOUT ROWID;
"""

_GENERATION = "coalesce((SELECT value FROM counters WHERE name = 'generation'), 0) + 1"
_TOUCHED = f"""
CREATE TRIGGER IF NOT EXISTS version_added AFTER INSERT ON versions BEGIN
    INSERT INTO touched VALUES (NEW.id, NEW.repo, {_GENERATION});
END;
CREATE TRIGGER IF NOT EXISTS version_changed AFTER UPDATE ON versions BEGIN
    INSERT OR REPLACE INTO touched VALUES (NEW.id, NEW.repo, {_GENERATION});
END;
CREATE TRIGGER IF NOT EXISTS version_removed AFTER DELETE ON versions BEGIN
    DELETE FROM touched WHERE version = OLD.id;
END;
"""  # noqa: S608  words of ours

_REFLOG = f"""
CREATE TABLE IF NOT EXISTS reflog (         -- every movement of a ref, written by the triggers below (SPEC 6.11)
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    time        TEXT NOT NULL,
    repo        TEXT NOT NULL,              -- UUID of the root version; empty for data, which the ref itself names
    ref         TEXT NOT NULL,              -- record, version/<uuid>, data/<uuid>
    action      TEXT NOT NULL,              -- made, committed, received, moved, deleted
    before      BLOB,                       -- object ids
    after       BLOB
);
CREATE TRIGGER IF NOT EXISTS reflog_ages AFTER INSERT ON reflog BEGIN
    DELETE FROM reflog WHERE id IN (SELECT id FROM reflog ORDER BY id LIMIT 8)
        AND time < strftime('{_NOW}', 'now', '-{REFLOG_DAYS} days');
END;
CREATE TRIGGER IF NOT EXISTS repo_made AFTER INSERT ON repos BEGIN
    INSERT INTO reflog (time, repo, ref, action, after) VALUES ({_TIME}, NEW.root, 'record', 'made', NEW.record);
END;
CREATE TRIGGER IF NOT EXISTS record_moved AFTER UPDATE OF record ON repos WHEN OLD.record IS NOT NEW.record BEGIN
    INSERT INTO reflog (time, repo, ref, action, before, after)
        VALUES ({_TIME}, NEW.root, 'record', 'moved', OLD.record, NEW.record);
END;
CREATE TRIGGER IF NOT EXISTS repo_deleted BEFORE DELETE ON repos BEGIN
    INSERT INTO reflog (time, repo, ref, action, before) VALUES ({_TIME}, OLD.root, 'record', 'deleted', OLD.record);
    INSERT INTO reflog (time, repo, ref, action, before)
        SELECT {_TIME}, OLD.root, 'version/' || uuid, 'deleted', commit_id
        FROM versions WHERE repo = OLD.id ORDER BY id;
END;
CREATE TRIGGER IF NOT EXISTS version_made AFTER INSERT ON versions BEGIN
    INSERT INTO reflog (time, repo, ref, action, after)
        SELECT {_TIME}, root, 'version/' || NEW.uuid, iif(NEW.commit_id IS NULL, 'made', 'received'), NEW.commit_id
        FROM repos WHERE id = NEW.repo;
END;
CREATE TRIGGER IF NOT EXISTS version_moved AFTER UPDATE OF commit_id ON versions
    WHEN OLD.commit_id IS NOT NEW.commit_id BEGIN
    INSERT INTO reflog (time, repo, ref, action, before, after)
        SELECT {_TIME}, root, 'version/' || NEW.uuid, iif(OLD.commit_id IS NULL, 'committed', 'moved'),
            OLD.commit_id, NEW.commit_id
        FROM repos WHERE id = NEW.repo;
END;
CREATE TRIGGER IF NOT EXISTS data_moved AFTER UPDATE OF record ON data WHEN OLD.record IS NOT NEW.record BEGIN
    INSERT INTO reflog (time, repo, ref, action, before, after)
        VALUES ({_TIME}, '', 'data/' || NEW.uuid, 'moved', OLD.record, NEW.record);
END;
CREATE TRIGGER IF NOT EXISTS data_deleted AFTER DELETE ON data WHEN OLD.record IS NOT NULL BEGIN
    INSERT INTO reflog (time, repo, ref, action, before)
        VALUES ({_TIME}, '', 'data/' || OLD.uuid, 'deleted', OLD.record);
END;
"""  # noqa: S608  words of ours

TABLES = _TABLES + _TOUCHED + _REFLOG
