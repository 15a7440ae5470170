"""keyvalue through the server: what the recorded contract does not say, and what it says in few examples."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagdvid.datatype import MAX_KEY
from dagdvid.errors import BadRequest, KeyAbsent, Locked, TooLarge
from dagdvid.interchange.keyvalues import KeyPart, keys_message, keyvalue_chunks, read_keyvalues


@pytest.fixture
def kv(new_data):
    return new_data("keyvalue")


def pairs_message(pairs):
    return b"".join(chunk for key, value in pairs for chunk in keyvalue_chunks(key, value))


def members(body):
    with tarfile.open(fileobj=io.BytesIO(body), encoding="utf-8", errors="surrogateescape") as tar:
        return [(m.name, tar.extractfile(m).read()) for m in tar]


def test_a_value_comes_back(kv):
    kv.post("key/a", b"\x00\xffvalue")
    answer = kv.ask("GET", "key/a")
    assert (answer.status, answer.content_type, answer.body) == (200, "application/octet-stream", b"\x00\xffvalue")
    assert answer.headers["Accept-Ranges"] == "bytes"
    head = kv.ask("HEAD", "key/a")
    assert (head.status, head.body) == (200, b"")


def test_an_empty_value_is_stored_and_found(kv):
    kv.post("key/empty", b"")
    assert kv.ask("GET", "key/empty").status == 200
    assert kv.ask("HEAD", "key/empty").status == 200
    assert kv.get("keys") == b'["empty"]'
    assert kv.get("keyrangevalues/a/z", json="true") == b'{"empty":{}}'
    assert members(kv.get("keyvalues", b'["empty"]', tar="true")) == [("empty", b"")]
    assert members(kv.get("keyrangevalues/a/z", tar="true")) == []  # as was recorded (keyvalue_batch)
    assert read_keyvalues(kv.get("keyrangevalues/a/z")) == [(b"empty", b"")]
    assert kv.ask("GET", "key/empty", headers={"range": "bytes=0-"}).status == 416


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_absent_key(kv, method):
    with pytest.raises(KeyAbsent, match="nosuch"):
        kv.ask(method, "key/nosuch")


def test_a_key_may_be_any_bytes(kv):
    key = b"caf\xc3\xa9\xff\xfe"
    path = "key/" + key.decode("utf-8", "surrogateescape")
    kv.post(path, b"here")
    assert kv.get(path) == b"here"
    assert kv.ask("GET", "keys").json == ["café\ufffd\ufffd"]
    assert read_keyvalues(kv.get("keyvalues", keys_message([KeyPart(key)]))) == [(key, b"here")]
    kv.ask("DELETE", path)
    with pytest.raises(KeyAbsent) as absent:
        kv.get(path)
    str(absent.value).encode()  # the message must be printable


def test_the_longest_key_and_one_more_byte(kv):
    kv.post("key/" + "k" * MAX_KEY, b"long")
    assert kv.get("key/" + "k" * MAX_KEY) == b"long"
    for method in ("GET", "HEAD", "POST", "DELETE"):
        with pytest.raises(TooLarge, match="1024 bytes"):
            kv.ask(method, "key/" + "k" * (MAX_KEY + 1))
    with pytest.raises(TooLarge, match="1024 bytes"):
        kv.post("keyvalues", pairs_message([(b"fine", b"1"), (b"k" * 1025, b"2")]))
    assert len(kv.ask("GET", "keys").json) == 1


def test_an_empty_key_is_refused(kv):
    for method in ("GET", "POST", "DELETE"):
        with pytest.raises(BadRequest):
            kv.ask(method, "key/")
    with pytest.raises(BadRequest, match="at least one byte"):
        kv.post("keyvalues", pairs_message([(b"fine", b"1"), (b"", b"2")]))
    assert kv.get("keys") == b"[]"


@pytest.mark.parametrize(
    ("header", "status", "content_range", "body"),
    [
        ("bytes=2-4", 206, "bytes 2-4/6", b"cde"),
        ("bytes=-2", 206, "bytes 4-5/6", b"ef"),
        ("bytes=6-", 416, "bytes */6", None),
        ("bytes=0-1,3-4", 200, None, b"abcdef"),
    ],
)
def test_range_headers(kv, header, status, content_range, body):
    kv.post("key/a", b"abcdef")
    answer = kv.ask("GET", "key/a", headers={"range": header})
    assert (answer.status, answer.headers.get("Content-Range")) == (status, content_range)
    assert answer.body == body if body is not None else b"6 bytes" in answer.body


def test_parts_by_query(kv):
    kv.post("key/a", b"abcdef")
    assert kv.get("key/a", byte_start="1", byte_end="3") == b"bcd"
    with pytest.raises(BadRequest, match="6 bytes"):
        kv.get("key/a", byte_start="1", byte_end="6")
    with pytest.raises(BadRequest, match="together"):
        kv.get("key/a", byte_start="1")
    with pytest.raises(BadRequest, match="together"):
        kv.ask("GET", "key/a", headers={"range": "bytes=0-1"}, byte_start="1", byte_end="3")
    with pytest.raises(KeyAbsent):
        kv.get("key/b", byte_start="1", byte_end="3")


def test_ranges_include_both_ends_in_byte_order(kv):
    for key in ("10", "9", "100", "Alpha", "alpha", "alpha2", "zz"):
        kv.post(f"key/{key}", key.encode())
    assert kv.ask("GET", "keyrange/10/9").json == ["10", "100", "9"]
    assert kv.ask("GET", "keyrange/alpha/alpha").json == ["alpha"]
    assert kv.ask("POST", "keyrange/Alpha/alpha2").json == ["Alpha", "alpha", "alpha2"]
    assert kv.ask("GET", "keyrange/z/a").json == []
    assert kv.ask("GET", "keyrange/z/a/surplus").json == []
    assert read_keyvalues(kv.get("keyrangevalues/z/a")) == []


def test_batches_keep_order_duplicates_and_absent_keys(kv):
    kv.post("keyvalues", pairs_message([(b"a", b"[1]"), (b"b", b"2"), (b"a", b"[3]")]))
    asked = ["b", "nosuch", "a", "b"]
    wanted = keys_message([KeyPart(key.encode()) for key in asked])
    assert read_keyvalues(kv.get("keyvalues", wanted)) == [(b"b", b"2"), (b"nosuch", b""), (b"a", b"[3]"), (b"b", b"2")]
    body = json.dumps(asked).encode()
    assert kv.get("keyvalues", body, json="true") == b'{"b":2,"nosuch":{},"a":[3],"b":2}'
    assert members(kv.get("keyvalues", body, tar="on")) == [("b", b"2"), ("nosuch", b""), ("a", b"[3]"), ("b", b"2")]
    assert members(kv.get("keyvalues", body, jsontar="1")) == members(kv.get("keyvalues", body, tar="true"))


@pytest.mark.parametrize("path", ["keyvalues", "keyrangevalues/a/z"])
def test_one_format_at_a_time(kv, path):
    with pytest.raises(BadRequest, match="not both"):
        kv.get(path, b"[]", json="true", tar="true")


def test_values_that_are_not_json_are_refused_on_request(kv):
    kv.post("key/a", b"not json")
    assert kv.get("keyrangevalues/a/z", json="true") == b'{"a":not json}'
    for path, body in (("keyrangevalues/a/z", b""), ("keyvalues", b'["a"]')):
        with pytest.raises(BadRequest, match="'a' is not JSON"):
            kv.get(path, body, json="true", check="true")


@pytest.mark.parametrize("body", [b"\x0a\x50short", b"\x0a\x03\x0a\x50k"])
def test_a_malformed_batch_stores_nothing(kv, body):
    with pytest.raises(BadRequest, match="protobuf"):
        kv.post("keyvalues", pairs_message([(b"a", b"1")]) + body)
    assert kv.get("keys") == b"[]"


def test_large_answers_are_streamed(kv):
    values = {b"%06d" % i: bytes([i % 256]) * (300 + i % 7) for i in range(9000)}
    kv.post("keyvalues", pairs_message(values.items()))
    answer = kv.ask("GET", "keyrangevalues/0/9")
    assert answer.streamed
    assert read_keyvalues(answer.body) == list(values.items())
    wanted = list(reversed(values))
    answer = kv.ask("GET", "keyvalues", keys_message([KeyPart(key) for key in wanted]))
    assert answer.streamed
    assert read_keyvalues(answer.body) == [(key, values[key]) for key in wanted]
    assert kv.ask("GET", "keys").json == [key.decode() for key in values]


def test_a_value_of_many_megabytes(kv):
    value = bytes(range(256)) * 40_000
    kv.post("key/big", value)
    assert kv.get("key/big") == value
    assert members(kv.get("keyvalues", b'["big"]', tar="true")) == [("big", value)]


def test_versions_keep_their_own_answers(kv):
    kv.post("key/a", b"first")
    kv.post("key/b", b"goes")
    child = kv.child()
    child.post("key/a", b"second")
    child.ask("DELETE", "key/b")
    child.ask("DELETE", "key/never-was")
    assert (kv.get("key/a"), child.get("key/a")) == (b"first", b"second")
    assert (kv.get("keys"), child.get("keys")) == (b'["a","b"]', b'["a"]')
    for method, path in (("POST", "key/a"), ("DELETE", "key/a"), ("POST", "keyvalues")):
        with pytest.raises(Locked):
            kv.ask(method, path, b"x")


keys = st.binary(min_size=1, max_size=3).filter(lambda key: b"/" not in key)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("post"), keys, st.binary(max_size=700)),
        st.tuples(st.just("delete"), keys),
        st.tuples(st.just("batch"), st.lists(st.tuples(keys, st.binary(max_size=20)), max_size=6)),
        st.tuples(st.just("version")),
        st.tuples(st.just("range"), keys, keys),
        st.tuples(st.just("get"), st.lists(keys, max_size=6)),
    ),
    max_size=25,
)


def in_path(key):
    return key.decode("utf-8", "surrogateescape")


@given(steps)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_requests_agrees_with_a_dictionary(new_data, sequence):
    data, model, older = new_data("keyvalue"), {}, []
    for step, *rest in sequence:
        if step == "post":
            data.post(f"key/{in_path(rest[0])}", rest[1])
            model[rest[0]] = rest[1]
        elif step == "delete":
            data.ask("DELETE", f"key/{in_path(rest[0])}")
            model.pop(rest[0], None)
        elif step == "batch":
            data.post("keyvalues", pairs_message(rest[0]))
            model.update(rest[0])
        elif step == "version":
            older.append((data, dict(model)))
            data = data.child()
        elif step == "range":
            found = read_keyvalues(data.get("keyrangevalues/{}/{}".format(*map(in_path, rest))))
            assert found == sorted((k, v) for k, v in model.items() if rest[0] <= k <= rest[1])
        else:
            found = read_keyvalues(data.get("keyvalues", keys_message([KeyPart(key) for key in rest[0]])))
            assert found == [(key, model.get(key, b"")) for key in rest[0]]
    for version, expected in [*older, (data, model)]:
        assert read_keyvalues(version.get("keyrangevalues/\0/" + 4 * "\udcff")) == sorted(expected.items())
        assert len(version.ask("GET", "keys").json) == len(expected)
