"""Commands of DVID's that have no sense on this store: each is answered with what takes its place."""

from __future__ import annotations

from dagdvid.words import Command, CommandTable

__all__ = ["ABSENT"]

_ONE_STORE = (
    "here one data directory holds all data. To move it, copy the folder while nobody serves it; to copy a repo, use "
    "dagdvid clone"
)

ABSENT = CommandTable(
    (
        Command("repo UUID migrate NAME SOURCE TARGET [transmit=WHAT]", None, _ONE_STORE),
        Command("repo UUID migrate-batch FILE", None, _ONE_STORE),
        Command("repo UUID transfer-data SOURCE TARGET FILE", None, _ONE_STORE),
        Command(
            "repo UUID flatten-mutations DATA FIRST LAST FILE",
            None,
            "GET /api/node/{uuid}/{data}/mutations-range/{first}/{last} answers the log of mutations",
        ),
        Command(
            "googlevoxels volumes TOKENFILE",
            None,
            "the datatype is not installed; ask the service itself: GET /v1/volumes",
        ),
    )
)
