"""keyvalue: any bytes under keys of a person's choice, versioned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagdvid.datatype import Datatype, Differ, Instance, Snapshot
from dagdvid.datatypes.keyvalue.commands import COMMANDS
from dagdvid.datatypes.keyvalue.diff import KeyDiffer
from dagdvid.datatypes.keyvalue.log import shown_mutations
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

    def differ(self, instance: Instance) -> Differ:  # noqa: ARG002
        """Changed keys, by name."""
        return KeyDiffer()


KEYVALUE = KeyValue()
