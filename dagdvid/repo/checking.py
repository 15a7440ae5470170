"""Sense of what another server sent: hashes prove that it came as it was sent, not that it can be read."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from dagdvid.errors import BadRequest, Corrupt, Unverified
from dagdvid.objects.blobs import read_values
from dagdvid.objects.tree.diff import diff
from dagdvid.objects.tree.nodes import EMPTY
from dagdvid.registry import datatype, datatype_names
from dagdvid.repo.catalog import Catalog
from dagdvid.repo.commits import Content

__all__ = ["check_values"]

_BATCH = 64


def check_values(catalog: Catalog, content: Content, before: Mapping[str, bytes]) -> None:
    """See that the changed entries of an instance are such as its datatype stores; in the time of the change.

    before: the roots of its key spaces in the parent, which were checked when they came.

    Raises:
        Unverified: one is not.
    """
    if content.typename not in datatype_names():
        return
    kind = datatype(content.typename)
    for space in sorted(kind.checks & content.roots.keys()):
        changes = diff(catalog.nodes, before.get(space, EMPTY), content.roots[space])
        present = ((key, value) for key, _, value in changes if value is not None)
        while batch := list(islice(present, _BATCH)):
            values = read_values(catalog.store, [value for _, value in batch])
            for (key, _), data in zip(batch, values, strict=True):
                try:
                    kind.check_value(content.settings, space, key, data)
                except (BadRequest, Corrupt) as error:
                    raise Unverified(f"{content.typename} with an entry {key.hex()} that cannot be: {error}") from None
