"""Tables, sizes, progress."""

from __future__ import annotations

import pytest

from dagdvid.cli.output import branch_name, moment, progress, short, size, table


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *[(0, "0 B"), (999, "999 B"), (1000, "1 KB"), (1234, "1.23 KB"), (999_600, "1 MB")],
        *[(2_359_296, "2.36 MB"), (10**12, "1 TB"), (10**16, "10 PB"), (5 * 10**18, "5e+03 PB")],
    ],
)
def test_sizes(count, text):
    assert size(count) == text


def test_tables(capsys):
    table(("a", "long title"), [("longer", 1), ("", "")])
    assert capsys.readouterr().out == "a       long title\nlonger  1\n\n"


def test_names():
    assert (branch_name(""), branch_name("side"), short("0123456789abcdef")) == ("master", "side", "0123456789ab")
    assert moment("2026-11-22T15:03:13.123456789Z") == "2026-11-22 15:03:13"


def test_progress_off_a_terminal(capsys):
    with progress(always=False) as show:
        show("sent", 1, 2)
    assert capsys.readouterr().err == ""
    with progress(always=True) as show:
        show("sent", 1000, 2000)
        show("sent", 1001, None)  # within a second of the last
    assert capsys.readouterr().err == "sent 1,000 of 2,000\n"


def test_progress_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress(always=False) as show:
        show("sent", 1, 2)
        show("sent", 2, 2)
    assert capsys.readouterr().err == "\r\x1b[Ksent 1 of 2\r\x1b[Ksent 2 of 2\r\x1b[K"
