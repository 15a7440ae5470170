"""Answers of unknown length: whole where they are small, streamed where they are not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dagdvid.routes import Reply

__all__ = ["WHOLE", "gathered", "streamed"]

WHOLE = 1 << 20
"""Bytes up to which an answer is sent whole, so that what goes wrong before that still has its own status."""
_PIECE = 1 << 16


def streamed(chunks: Iterable[bytes], content_type: str) -> Reply:
    """An answer of these chunks in order. They are made while it is sent, from WHOLE bytes on."""
    source = iter(chunks)
    head: list[bytes] = []
    size = 0
    for chunk in source:
        head.append(chunk)
        size += len(chunk)
        if size > WHOLE:
            return Reply(_pieces(b"".join(head), source), content_type)
    return Reply(b"".join(head), content_type)


def _pieces(head: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    """The head, then the rest with small chunks put together."""
    yield head
    yield from gathered(source, _PIECE)


def gathered(chunks: Iterable[bytes], least: int) -> Iterator[bytes]:
    """Chunks put together to pieces of at least so many bytes; the last may be smaller."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= least:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
