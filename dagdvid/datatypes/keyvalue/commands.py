"""The command words of keyvalue (DVID: datatype/keyvalue/keyvalue.go, DoRPC)."""

from __future__ import annotations

from dagdvid.datatype import Instance, Txn
from dagdvid.datatypes.keyvalue import ops
from dagdvid.datatypes.keyvalue.keys import checked_key, key_of_path
from dagdvid.datatypes.keyvalue.log import log_keys
from dagdvid.errors import BadRequest
from dagdvid.words import Call, Command, CommandTable

__all__ = ["COMMANDS"]


def put(instance: Instance, txn: Txn, call: Call) -> str:
    """put KEY."""
    if not call.stdin:
        raise BadRequest("nothing came on standard input: the value of the key is wanted there, with the flag -stdin")
    key = checked_key(key_of_path(call.args["key"]))
    txn.put(ops.SPACE, key, call.stdin)
    log_keys(txn, call, [(key, len(call.stdin))])
    return (
        f'Put {len(call.stdin)} bytes into key "{call.args["key"]}" for keyvalue "{instance.name}", uuid {txn.version}'
    )


COMMANDS = CommandTable(
    (
        Command("put KEY", put, "Set a key to what comes on standard input (with the flag -stdin)."),
        Command(
            "dump-cloud BUCKET [WORKERS]",
            None,
            "GET .../keyrangevalues/{key1}/{key2}?tar=true streams all values as one tar file, for any tool to upload",
        ),
    )
)
