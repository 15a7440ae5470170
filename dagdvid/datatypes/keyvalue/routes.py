"""The endpoints of keyvalue (endpoints.csv, keyvalue)."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from dagdvid.datatype import Instance, Snapshot, Txn
from dagdvid.datatypes.keyvalue import ops
from dagdvid.datatypes.keyvalue.keys import checked_key, key_of_path, parts_of_json, shown, span_of_text
from dagdvid.datatypes.keyvalue.log import log_keys
from dagdvid.datatypes.keyvalue.ranges import requested_range, satisfiable
from dagdvid.datatypes.streaming import streamed
from dagdvid.errors import BadRequest, KeyAbsent
from dagdvid.interchange.keyvalues import read_keys, read_keyvalues
from dagdvid.routes import Cache, Example, Reply, Request, Right, Route, RouteTable, text_reply

__all__ = ["ROUTES"]

_OCTETS = "application/octet-stream"


def get_key(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """The value of a key, or a part of it."""
    key = checked_key(key_of_path(request.args["key"]))
    span = span_of_text(request.query.get("byte_start"), request.query.get("byte_end"))
    header = request.headers.get("range")
    if span is not None and header is not None:
        raise BadRequest("a Range header cannot go together with byte_start and byte_end")
    value = view.get(ops.SPACE, key)
    if value is None:
        raise KeyAbsent(f'Key "{shown(key)}" not found')
    if span is not None:
        return Reply(ops.part(key, value, span), _OCTETS)
    wanted = requested_range(header)
    if wanted is None:
        return Reply(value, _OCTETS, headers={"Accept-Ranges": "bytes"})
    found = satisfiable(wanted, len(value))
    if found is None:
        reply = text_reply(f"Range {header} is not within the {len(value)} bytes of the value\n", 416)
        return Reply(reply.body, reply.content_type, 416, {"Content-Range": f"bytes */{len(value)}"})
    first, last = found
    headers = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {first}-{last}/{len(value)}"}
    return Reply(value[first : last + 1], _OCTETS, 206, headers)


def head_key(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """Whether a key is there."""
    key = checked_key(key_of_path(request.args["key"]))
    if not view.has(ops.SPACE, key):
        raise KeyAbsent(f'Key "{shown(key)}" not found')
    return Reply(iter(()), _OCTETS)  # a body of unknown length: the value is not read, and 0 would be a lie


def post_key(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """Set a key to the body."""
    key = checked_key(key_of_path(request.args["key"]))
    txn.put(ops.SPACE, key, request.body)
    log_keys(txn, request, [(key, len(request.body))])
    return Reply()


def delete_key(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """Remove a key, if it is there."""
    key = checked_key(key_of_path(request.args["key"]))
    txn.delete(ops.SPACE, key)
    log_keys(txn, request, [(key, None)])
    return Reply()


def get_keys(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """All keys."""
    return streamed(ops.key_list(view.keys(ops.SPACE)), "application/json")


def get_keyrange(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """The keys between two, both included."""
    return streamed(ops.key_list(ops.keys_between(view, *_ends(request))), "application/json")


def get_keyrangevalues(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """The keys between two, both included, with their values."""
    form = _form(request)
    entries = ops.entries_between(view, *_ends(request))
    if form is _Form.TAR:  # where a member without bytes stands for an absent key, as was recorded of DVID
        entries = (entry for entry in entries if entry.value)
    return _formatted(form, entries, request)


def get_keyvalues(instance: Instance, view: Snapshot, request: Request) -> Reply:  # noqa: ARG001
    """The values of the keys in the body."""
    form = _form(request)
    read = read_keys if form is _Form.PROTOBUF else parts_of_json
    return _formatted(form, ops.wanted(view, read(request.body)), request)


def post_keyvalues(instance: Instance, txn: Txn, request: Request) -> Reply:  # noqa: ARG001
    """Set the keys in the body, all of them or none."""
    pairs = dict(read_keyvalues(request.body))  # of a key that comes twice, the last value
    for key in pairs:
        checked_key(key)
    if pairs:
        txn.put_many(ops.SPACE, pairs.items())
        log_keys(txn, request, [(key, len(value)) for key, value in pairs.items()])
    return Reply()


def _ends(request: Request) -> tuple[bytes, bytes]:
    return key_of_path(request.args["key1"]), key_of_path(request.args["key2"])


class _Form(Enum):
    """How keys and values are sent."""

    PROTOBUF = _OCTETS
    JSON = "application/json"
    TAR = "application/tar"


def _form(request: Request) -> _Form:
    """The form that the query asks for.

    Raises:
        BadRequest: it asks for two.
    """
    tar = request.flag("tar") or request.flag("jsontar")
    if tar and request.flag("json"):
        raise BadRequest("ask for either json=true or tar=true, not both")
    return _Form.TAR if tar else _Form.JSON if request.flag("json") else _Form.PROTOBUF


def _formatted(form: _Form, entries: Iterator[ops.Entry], request: Request) -> Reply:
    if form is _Form.TAR:
        chunks = ops.as_tar(entries)
    elif form is _Form.JSON:
        chunks = ops.as_json(entries, request.flag("check"))
    else:
        chunks = ops.as_protobuf(entries)
    return streamed(chunks, form.value)


_FORMATS = {
    "json": "true for a JSON object of keys and values; an empty or absent value is {}",
    "tar": "true for a tar file with a member for each key; empty ones stand for absent keys: ranges have none",
    "jsontar": "the same as tar",
    "check": "true to refuse values that are not JSON, with json=true",
}
_PART = {
    "byte_start": "first byte wanted, from 0; only together with byte_end",
    "byte_end": "last byte wanted, included",
}
_ANY = ("GET", "HEAD", "POST", "PUT", "DELETE")  # DVID does not look at the method of these

ROUTES = RouteTable(
    (
        Route(
            ("GET",),
            "key/{key}",
            get_key,
            "The value of a key as it was posted, or a part of it by byte_start and byte_end or by a Range header.",
            cache=Cache.CONTENT,
            query=_PART,
            hot=True,
            examples=(
                Example("key/neuron-1", '{"type":"Mi1"}'),
                Example("key/neuron-1?byte_start=9&byte_end=11", "Mi1"),
                Example("key/nothing", "...", status=404),
            ),
        ),
        Route(
            ("HEAD",),
            "key/{key}",
            head_key,
            "200 if the key is there, else 404.",
            cache=Cache.CONTENT,
            hot=True,
            examples=(Example("key/neuron-1"),),
        ),
        Route(
            ("POST",),
            "key/{key}",
            post_key,
            "Sets a key to the body, whatever it is.",
            mutates=True,
            right=Right.WRITE,
            hot=True,
            examples=(Example("key/neuron-4", body='{"type":"T4a"}'),),
        ),
        Route(
            ("DELETE",),
            "key/{key}",
            delete_key,
            "Removes a key; no error if it is not there.",
            mutates=True,
            right=Right.WRITE,
            examples=(Example("key/neuron-1"),),
        ),
        Route(
            _ANY,
            "keys",
            get_keys,
            "All keys as a JSON list, in byte order.",
            cache=Cache.CONTENT,
            examples=(Example("keys", '["neuron-1","neuron-2"]'),),
        ),
        Route(
            _ANY,
            "keyrange/{key1}/{key2}",
            get_keyrange,
            "The keys from key1 to key2, both included, as a JSON list in byte order.",
            cache=Cache.CONTENT,
            examples=(Example("keyrange/neuron-2/z", '["neuron-2"]'),),
        ),
        Route(
            ("GET",),
            "keyrangevalues/{key1}/{key2}",
            get_keyrangevalues,
            "The keys from key1 to key2, both included, with their values: a protobuf message KeyValues, JSON or tar.",
            cache=Cache.CONTENT,
            query=_FORMATS,
            examples=(
                Example("keyrangevalues/a/z?json=true", '{"neuron-1":{"type":"Mi1"},"neuron-2":{"type":"Tm3"}}'),
            ),
        ),
        Route(
            ("GET",),
            "keyvalues",
            get_keyvalues,
            "The values of the keys in the body, in its order: a protobuf message Keys for an answer in protobuf, else "
            'a JSON list of keys or of objects {"key", "byte_start", "byte_end"}. Absent keys have empty values.',
            cache=Cache.CONTENT,
            query=_FORMATS,
            hot=True,
            examples=(Example("keyvalues?json=true", '{"neuron-2":{"type":"Tm3"}}', '["neuron-2"]'),),
        ),
        Route(
            ("POST",),
            "keyvalues",
            post_keyvalues,
            "Sets all keys of a protobuf message KeyValues, at once.",
            mutates=True,
            right=Right.WRITE,
            hot=True,
            examples=(Example("keyvalues", body=b"\n\x0e\n\x08neuron-5\x12\x02{}"),),
        ),
    ),
    surplus=True,
)
