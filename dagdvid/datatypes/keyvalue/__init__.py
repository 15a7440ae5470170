"""keyvalue: any bytes under keys of a person's choice, versioned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dagdvid.datatype import Datatype, Differ, Instance, Snapshot
from dagdvid.datatypes.keyvalue.commands import COMMANDS
from dagdvid.datatypes.keyvalue.diff import KeyDiffer
from dagdvid.datatypes.keyvalue.keys import checked_key, key_of_path
from dagdvid.datatypes.keyvalue.log import logged_keys, shown_mutations
from dagdvid.datatypes.keyvalue.ops import SPACE
from dagdvid.datatypes.keyvalue.routes import ROUTES
from dagdvid.datatypes.settings import BASE_HELP, base_settings

__all__ = ["KEYVALUE", "KeyValue"]


class KeyValue(Datatype):
    """DVID's keyvalue (datatype/keyvalue/keyvalue.go)."""

    name = "keyvalue"
    url = "github.com/janelia-flyem/dvid/datatype/keyvalue"
    version = "0.2"
    spaces = ("keys",)
    logs = True
    key_by_key = True
    routes = ROUTES
    commands = COMMANDS
    summary = "Values of any kind under keys that you choose: meshes, skeletons, JSON records."
    settings_help = BASE_HELP

    def configure(self, settings: Mapping[str, str]) -> dict[str, Any]:
        """Compression and Checksum, as texts."""
        base = base_settings(settings, "lz4")
        return {"Compression": base.compression_text, "Checksum": base.checksum_text}

    def info(self, instance: Instance, view: Snapshot) -> dict[str, Any]:  # noqa: ARG002
        """Nothing beside Base."""
        return {"Extended": {}}

    def mutations(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One object for each key that a request set or removed."""
        return shown_mutations(record)

    def find_key(self, instance: Instance, text: str) -> tuple[str, bytes]:  # noqa: ARG002
        """A key is named by itself."""
        return SPACE, checked_key(key_of_path(text))

    def change_record(self, changes: Sequence[tuple[str, bytes, int | None]]) -> dict[str, Any] | None:
        """As a request that set and removed these keys."""
        return {"keys": logged_keys((key, size) for _, key, size in changes)}

    def differ(self, instance: Instance) -> Differ:  # noqa: ARG002
        """Changed keys, by name."""
        return KeyDiffer()


KEYVALUE = KeyValue()
