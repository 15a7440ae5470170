"""Where a repair may find objects: a data directory at rest or in use (a backup, a clone), or a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from dagdvid.errors import BadRequest, DamageError
from dagdvid.objects.ids import TYPES
from dagdvid.objects.local.store import LocalStore
from dagdvid.objects.store import Object, verified
from dagdvid.remote.objects import read_objects
from dagdvid.remote.peer import Peer
from dagdvid.repo.repair import Source

__all__ = ["open_sources"]


class _Folder:
    def __init__(self, store: LocalStore) -> None:
        self.name = str(store.folder)
        self._store = store

    def fetch(self, ids: Sequence[bytes]) -> Iterable[Object]:
        """Those that are there and intact: the other folder may be damaged elsewhere."""
        for name in ids:
            try:
                item = self._store.get_many([name])[0]
                if item is not None:
                    yield verified(item)
            except DamageError:
                continue


class _Server:
    def __init__(self, peer: Peer) -> None:
        self.name = peer.name
        self._peer = peer

    def fetch(self, ids: Sequence[bytes]) -> Iterable[Object]:
        """Those that it sends."""
        wanted = set(ids)
        return [item for item in read_objects(self._peer.get_objects(ids), TYPES) if item.id in wanted]


@contextmanager
def open_sources(places: Sequence[str], folder: Path) -> Iterator[list[Source]]:
    """The sources that places name: URLs of servers, or data directories other than `folder`.

    Raises:
        BadRequest: one is neither, or the folder itself.
        DagdvidError: it cannot be opened.
    """
    with ExitStack() as stack:
        sources: list[Source] = []
        for place in places:
            if "://" in place:
                sources.append(_Server(stack.enter_context(Peer(place))))
            elif Path(place).resolve() == folder.resolve():
                raise BadRequest(f"{place} is what shall be repaired: name another place")
            else:
                sources.append(_Folder(stack.enter_context(closing(LocalStore(Path(place), readonly=True)))))
        yield sources
