"""Plain kernels answer until compiled ones are there: in processes of their own, as numba is imported only once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dagdvid.kernels import twins

START = """
import logging, sys, threading, time
import numpy as np
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
from dagdvid.kernels import labelblocks, twins
block = np.full((16, 16, 16), 5, np.uint64)
block[3] = 7
form = lambda: labelblocks._encode._chosen.__module__
settle = lambda: [t.join() for t in threading.enumerate() if t.name == "kernels"]
"""


def run(*lines):
    words = [sys.executable, "-P", "-W", "error", "-c", START + "\n".join(lines)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_plain_then_compiled():
    said = run(
        "print(form()); a = labelblocks.encode(block)",
        "settle(); print(form()); print(a == labelblocks.encode(block))",
    )
    assert said[0] == "dagdvid.kernels.twins"
    assert said[-2:] == ["dagdvid.kernels.fast.blockforms", "True"]


def test_without_numba_plain_kernels_go_on():
    said = run(
        "sys.modules['numba'] = None",
        "a = labelblocks.encode(block); settle(); b = labelblocks.encode(block); print(a == b, form())",
    )
    assert said[-1] == "True dagdvid.kernels.twins"
    assert "compiled kernels cannot be had; plain ones go on, slower" in said


def test_the_end_of_a_process_waits_for_a_load():
    assert run("labelblocks.encode(block); print('done')")[-1] == "done"


def test_a_server_starts_without_numba(tmp_path):
    said = run(
        "from pathlib import Path; from dagdvid.config import Config; from dagdvid.server import Server",
        f"server = Server.open(Config(data=Path({str(tmp_path / 'data')!r})))",
        "print('numba' in sys.modules); server.close()",
    )
    assert said[-1] == "False"


def test_compiling_says_how_far_it_is():
    done = subprocess.run(
        [sys.executable, "-P", "-m", "dagdvid.kernels"], capture_output=True, text=True, check=True, timeout=250
    )
    lines = done.stdout.splitlines()
    assert all(re.fullmatch(rf"[a-z]+ \({i} of {len(lines)}\)", line) for i, line in enumerate(lines, 1))
    assert lines[0].startswith("blockforms ")
    assert twins.is_compiled()


def test_what_is_compiled_is_known_by_its_source(tmp_path, monkeypatch):
    twins.load()
    assert twins.is_compiled()
    for file in twins.FOLDER.glob("*.py"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(twins, "FOLDER", tmp_path)
    assert not twins.is_compiled()


@pytest.mark.parametrize(("writable", "kept"), [(True, twins.FOLDER / "__pycache__"), (False, Path("elsewhere"))])
def test_where_compiled_kernels_are_kept(writable, kept, monkeypatch):
    monkeypatch.setattr(twins, "_kept", twins.FOLDER / "__pycache__")
    monkeypatch.setattr(twins.os, "access", lambda *_: writable)
    twins.keep_in(Path("elsewhere"))
    assert twins._kept == kept
