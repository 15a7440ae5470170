"""Requests that change the version graph by one operation, with the note of who asked for it: prepared, then made."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from dagdvid.objects.local.operation import Operation
from dagdvid.repo.activity import act_of
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.model import Repo, Version
from dagdvid.repo.operations import Together
from dagdvid.repo.shared import ACTS, entry, numbered
from dagdvid.routes import Reply, Request

__all__ = ["Change", "ChangeHandler", "Target"]


class Target(NamedTuple):
    """What the UUID of a path means."""

    repo: Repo
    version: Version


class Change(NamedTuple):
    """What a request changes, and its answer once that is durable."""

    operation: Operation
    reply: Reply
    before: Callable[[], object] | None = None
    """What has to be done first, and may take long."""
    after: Callable[[], object] | None = None
    """What is to be done once it is durable, and takes no time."""


@dataclass(frozen=True)
class ChangeHandler:
    """Handles a route whose requests change the version graph."""

    action: str
    """The word under which it is noted who asked (`activity`)."""
    change: Callable[[Catalog, Target, Request], Change]

    def __call__(self, catalog: Catalog, target: Target, request: Request) -> Reply:
        """Make the change."""
        change = self.change(catalog, target, request)
        if change.before is not None:
            change.before()
        repo = numbered(catalog, target.repo) if _is_noted(request) else target.repo
        catalog.store.run(self._noted(catalog, repo, target, request, change))
        if change.after is not None:
            change.after()
        return change.reply

    def prepare(
        self, catalog: Catalog, target: Target, request: Request
    ) -> tuple[Reply, Callable[[], Future[Any]]] | None:
        """The answer, and what makes the change, without waiting for it; None where something has to be done first."""
        change = self.change(catalog, target, request)
        if change.before is not None or (_is_noted(request) and target.repo.shared.uuid not in target.repo.numbers):
            return None
        operation = self._noted(catalog, target.repo, target, request, change)

        def submit() -> Future[Any]:
            future = catalog.store.writer.submit(operation)
            if change.after is not None:
                future.add_done_callback(partial(_after, change.after))
            return future

        return change.reply, submit

    def _noted(self, catalog: Catalog, repo: Repo, target: Target, request: Request, change: Change) -> Operation:
        if not _is_noted(request):
            return change.operation
        act = act_of(request, change.reply, self.action, target.version.uuid)
        return Together((change.operation, entry(catalog, repo, ACTS, *act)))


def _is_noted(request: Request) -> bool:
    return bool(request.user or request.app)


def _after(then: Callable[[], object], made: Future[Any]) -> None:
    if not made.cancelled() and made.exception() is None:
        then()
