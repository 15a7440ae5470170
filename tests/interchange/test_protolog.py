"""Protolog files: golden bytes, and whole records found before, between and behind torn ones."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dagdvid.interchange.protolog import encode, last_record, read_records

GOLDEN = bytes.fromhex("09000000839206e30100") + b"123456789"
"""Length, CRC-32C (the check value of its definition is e3069283), type, payload."""

LISTS = st.lists(st.tuples(st.binary(max_size=80), st.integers(0, 65535)), max_size=8)


def reader(data: bytes) -> Any:
    return lambda at, n: data[at : at + n]


def read(data: bytes, start: int = 0) -> list[tuple[int, int, bytes]]:
    return [tuple(record) for record in read_records(reader(data), start)]  # type: ignore[misc]


def test_golden() -> None:
    assert encode(b"123456789") == GOLDEN
    assert read(GOLDEN) == [(19, 1, b"123456789")]
    assert encode(b"", 7) == bytes(8) + b"\x07\x00"


@given(LISTS, st.integers(1, 30))
def test_records_come_back_in_pieces_of_any_size(records: list[tuple[bytes, int]], piece: int) -> None:
    data = b"".join(encode(*record) for record in records)
    found = list(read_records(lambda at, n: data[at : at + n]))
    assert [(r.payload, r.type) for r in found] == records
    assert [r.end for r in found][-1:] == ([len(data)] if records else [])
    for record in found:
        assert read(data, record.end) == [tuple(r) for r in found if r.end > record.end]


def test_records_larger_than_a_read() -> None:
    payloads = [b"x" * n for n in (2**20 - 10, 2**20, 3 * 2**20 + 7, 1)]
    data = b"".join(map(encode, payloads))
    assert [r.payload for r in read_records(reader(data))] == payloads


@given(LISTS.filter(bool), st.data())
def test_what_was_cut_off_or_damaged_ends_it(records: list[tuple[bytes, int]], data: Any) -> None:
    whole = [encode(*record) for record in records]
    text = b"".join(whole)
    cut = data.draw(st.integers(0, len(text) - 1))
    kept = sum(sum(map(len, whole[: i + 1])) <= cut for i in range(len(whole)))
    assert [payload for _, _, payload in read(text[:cut])] == [payload for payload, _ in records[:kept]]
    n = data.draw(st.integers(0, len(records) - 1))
    at = sum(map(len, whole[:n])) + 4  # a byte of the checksum
    damaged = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
    assert [payload for _, _, payload in read(damaged)] == [payload for payload, _ in records[:n]]


@given(LISTS, st.binary(min_size=1, max_size=60))
def test_the_last_record_is_found_from_behind(records: list[tuple[bytes, int]], last: bytes) -> None:
    text = b"".join(encode(*record) for record in records) + encode(last)
    for tail in (text, text[-len(last) - 10 :], text[-len(last) - 17 :]):
        found = last_record(tail)
        assert found is not None
        assert (found.payload, found.type, found.end) == (last, 1, len(tail))
    assert last_record(text[-len(last) - 9 :]) is None
    assert last_record(b"") is None
