"""What was once published can be read for ever (SPEC 8.5 to 8.9): the folder golden/published-1, by both readers."""

from __future__ import annotations

import shutil
from pathlib import Path

from calling import Caller
from reader import Published

GOLDEN = Path(__file__).parents[1] / "golden" / "published-1"
ROOT, SIDE = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
FIRST = {f"k{i:03}": b"value %d" % i for i in range(150)} | {"blob": b"golden " * 200}
VALUES = {ROOT: FIRST, SIDE: FIRST | {"k007": b"changed"}}


def test_the_reader_written_from_the_text():
    read = Published(GOLDEN, ROOT, "side")
    for uuid, commit in read.commits().items():
        ((_, spaces),) = read.version(commit).items()
        (keys,) = (space for name, space in spaces.items() if name != "log")
        assert {key.decode(): value for key, value in keys.items()} == VALUES[uuid]
    assert sorted(read.commits()) == sorted(VALUES)
    assert read.searched == 0


def test_a_chained_clone(call: Caller, tmp_path):
    site = tmp_path / "site"
    shutil.copytree(GOLDEN, site)
    assert call.json("POST", "/api/repos/clone", {"url": site.as_uri()})["versions"] == 2
    for uuid, values in VALUES.items():
        assert call.json("GET", f"/api/node/{uuid}/kv/keys") == sorted(values)
        for key, value in values.items():
            assert call("GET", f"/api/node/{uuid}/kv/key/{key}").body == value
    assert call.json("GET", f"/api/repo/{ROOT}/info")["Alias"] == "golden"
    assert call.json("POST", "/api/store/fsck")["ok"]
    again = call.json("POST", f"/api/repo/{ROOT}/publish", {"url": site.as_uri(), "versions": [SIDE]})
    assert 0 < again["bytes"] < 8000  # the record has moved: this server got ids of its own
    assert sorted(Published(site, ROOT, "side").commits()) == sorted(VALUES)
