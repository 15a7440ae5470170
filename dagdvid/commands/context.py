"""What commands have to work on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dagdvid.datatype import Instance
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.routes import Target
from dagdvid.words import Call

__all__ = ["Context"]


@dataclass(frozen=True)
class Context:
    """An opened store, and the server that has it, if one does. Handlers are `(context, call) -> text`."""

    catalog: Catalog
    stop: Callable[[], None] | None = None
    """Makes the server stop, once what runs is done; None where nobody serves."""
    unlocked: bool = False
    """The caller may change committed versions: they are amended."""

    def target(self, call: Call) -> Target:
        """The version that UUID means, and its repo."""
        return Target(*self.catalog.find(call.args["uuid"]))

    def note(self, target: Target, call: Call) -> None:
        """Add a command to the log of a repo, as DVID does with those that change its graph or make data."""
        self.catalog.add_log(target.repo.root, [" ".join(call.words)], call.user)

    def instance(self, target: Target, text: str) -> Instance:
        """An instance by its data UUID or its name."""
        return target.repo.by_data_uuid.get(text) or target.repo.instance(text)
