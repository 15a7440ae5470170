"""Mutation logs as files, beside the log that is content: DVID's [mutations] jsonstore (server/mutationlog.go).

One protolog file for each versioned instance and version, `<data UUID>-<version UUID>.plog`, and one for each
unversioned instance, under the root's UUID; JSON of `mutations`, with its `MutationID`. The log in the store is what
counts: a file is always a beginning of it. Whoever has made a mutation durable brings the file up to it before the
answer, so that all workers' records stand in it, in their order; what a crash or a full disk kept from it is added by
the next write or the next start.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dagdvid.datatype import Instance
from dagdvid.errors import DagdvidError, ReadOnly
from dagdvid.interchange.protolog import JSON, encode, last_record, read_records
from dagdvid.objects.local.files import Files
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.registry import datatype, datatype_names
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import read_commit
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.mutations import records
from dagdvid.repo.staging import LOG, LOG_KEY

__all__ = ["Journal", "keep"]

_KEPT = 1024
_TAIL = 2**16
_WRITE = 2**20

log = logging.getLogger(__name__)


class _State(NamedTuple):
    """How far a file goes."""

    end: int = 0
    """Bytes of whole records."""
    last: int = 0
    """The mutation id of the last one, 0 if there is none."""
    same: int = 0
    """Records with that id: one request may make several."""


class Journal:
    """The files of a folder. Safe for threads and processes: a file is locked while it is looked at and written."""

    def __init__(self, folder: Path, catalog: Catalog, files: Files | None = None) -> None:
        """Make the folder if need be.

        Raises:
            ReadOnly: it cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ReadOnly(f"cannot make {folder} for mutation logs: {error.strerror}") from None
        self._folder = folder
        self._catalog = catalog
        self._files = files or Files()
        self._lock = threading.Lock()
        self._states: OrderedDict[tuple[str, int], _State] = OrderedDict()

    def write(self, repo: Repo, version: Version, instance: Instance) -> None:
        """Bring the file of an instance at a version up to its log. A failure is logged: the mutation is done."""
        repo = self._catalog.repo(repo.root)
        version = repo.versions[version.uuid]  # as it is now: an amendment makes a new commit
        if not instance.versioned:
            version = repo.versions[repo.root]
        path = self._path(version, instance)
        try:
            self._write(path, repo, version, instance)
        except (OSError, DagdvidError) as error:
            log.error("%s lacks what was done last, until the next write or start: %s", path, error)

    def catch_up(self) -> None:
        """Bring all files up to their logs: what a crash kept from them, and versions that came from elsewhere."""
        logging_types = {name for name in datatype_names() if datatype(name).logs}
        for repo in self._catalog.repos().values():
            for instance in repo.instances.values():
                if instance.typename not in logging_types:
                    continue
                for version in repo.versions.values() if instance.versioned else [repo.versions[repo.root]]:
                    if self._behind(repo, version, instance):
                        self.write(repo, version, instance)

    def _path(self, version: Version, instance: Instance) -> Path:
        return self._folder / f"{instance.uuid}-{version.uuid}.plog"

    def _behind(self, repo: Repo, version: Version, instance: Instance) -> bool:
        """Whether a file may lack something: a quick look that reads neither the whole file nor the whole log."""
        if version.commit is None or not instance.versioned:
            return next(records(self._catalog, repo, version, instance), None) is not None
        own = read_commit(self._catalog.nodes, version.commit)
        before = read_commit(self._catalog.nodes, own.parents[0]).root if own.parents else EMPTY
        root, old = (self._catalog.roots(tree, instance.uuid).get(LOG, EMPTY) for tree in (own.root, before))
        if root in (old, EMPTY):
            return False
        last = int.from_bytes(self._catalog.nodes.read(root).keys[-1][: LOG_KEY // 2], "big")
        return self._last_in(self._path(version, instance)) != last

    def _last_in(self, path: Path) -> int:
        try:
            fd = self._files.open(path)
        except FileNotFoundError:
            return 0
        try:
            size = self._files.size(fd)
            found = last_record(self._files.read(fd, _TAIL, max(0, size - _TAIL)))
        finally:
            self._files.close(fd)
        return _mutation(found.payload) if found else 0

    def _write(self, path: Path, repo: Repo, version: Version, instance: Instance) -> None:
        fd = self._open(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # until it is closed
            before = after = self._state(path, fd)
            held = b""
            try:
                for state, record in self._missing(before, repo, version, instance):
                    after = state
                    held += record
                    if len(held) >= _WRITE:
                        self._files.write(fd, held, after.end - len(held))
                        held = b""
                if after != before:
                    self._files.write(fd, held, after.end - len(held))
                    self._files.sync(fd)
            except BaseException:
                self._forget(path, fd)
                raise
            self._keep(path, fd, after)
        finally:
            self._files.close(fd)

    def _open(self, path: Path) -> int:
        while True:
            try:
                return self._files.open(path, write=True)
            except FileNotFoundError:
                try:
                    fd = self._files.create(path)
                except FileExistsError:
                    continue
                self._files.sync_folder(self._folder)
                return fd

    def _missing(
        self, state: _State, repo: Repo, version: Version, instance: Instance
    ) -> Iterator[tuple[_State, bytes]]:
        """The records that a file lacks, each with how far it then goes."""
        end = state.end
        for mutation, shown in records(self._catalog, repo, version, instance, state.last):
            done = state.same if mutation == state.last else 0
            for same, each in enumerate(shown[done:], done + 1):
                text = json.dumps({**each, "MutationID": mutation}, sort_keys=True, separators=(",", ":"))
                record = encode(text.encode())
                end += len(record)
                yield _State(end, mutation, same), record

    def _state(self, path: Path, fd: int) -> _State:
        """How far a file goes; bytes beyond, of a write that was cut off, are cut."""
        with self._lock:
            state = self._states.get(_key(path, fd), _State())
        size = self._files.size(fd)
        if size < state.end:
            state = _State()
        for end, kind, payload in read_records(lambda at, n: self._files.read(fd, n, at), state.end):
            mutation = _mutation(payload) if kind == JSON else 0
            if not mutation:  # of DVID, which wrote this file before: it stays
                state = state._replace(end=end)
                continue
            state = _State(end, mutation, state.same + 1 if mutation == state.last else 1)
        if size > state.end:
            self._files.truncate(fd, state.end)
        return state

    def _keep(self, path: Path, fd: int, state: _State) -> None:
        with self._lock:
            key = _key(path, fd)
            self._states[key] = state
            self._states.move_to_end(key)
            if len(self._states) > _KEPT:
                self._states.popitem(last=False)

    def _forget(self, path: Path, fd: int) -> None:
        with self._lock:
            self._states.pop(_key(path, fd), None)


def keep(catalog: Catalog, folder: Path) -> None:
    """Write mutation logs to files, too, from now on, and what an earlier life of a process kept from them.

    Raises:
        ReadOnly: the folder cannot be written.
    """
    journal = Journal(folder, catalog)
    catalog.on_log = journal.write
    journal.catch_up()


def _key(path: Path, fd: int) -> tuple[str, int]:
    """A file that was replaced is another file."""
    return path.name, os.fstat(fd).st_ino


def _mutation(payload: bytes) -> int:
    """The mutation id of a record; 0 if it is not one of ours."""
    try:
        value: Any = json.loads(payload)["MutationID"]
    except (ValueError, KeyError, TypeError):
        return 0
    return value if isinstance(value, int) else 0
