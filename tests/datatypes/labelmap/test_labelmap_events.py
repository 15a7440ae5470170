"""What is done to labels is told in the same transaction: a datatype of a plug-in counts along, whatever dies when."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from calling import Caller

from dagdvid import registry
from dagdvid.cli.child import ServerProcess
from dagdvid.config import Config
from dagdvid.errors import BadRequest
from dagdvid.interchange.sparsevols import write_rles
from dagdvid.kernels import runs
from dagdvid.routes import Request
from dagdvid.server import Server

PLUGIN = '''
import json

import numpy as np

from dagdvid.datatypes.keyvalue import KeyValue
from dagdvid.datatypes.labelevents import Cleave, Merge, Renumber, Split, SplitSupervoxel, Written
from dagdvid.errors import BadRequest
from dagdvid.kernels import labelblocks


class Tally(KeyValue):
    """Under each supervoxel its voxels, and under each word how often it was told."""

    name = "tally"
    syncs_with = frozenset({"labelmap", "tally"})

    def follow(self, instance, txn, source, event):
        if isinstance(event, str):
            word = event
        elif isinstance(event, Written):
            word = "ingest" if event.ingest else "overwrite"
        else:
            word = type(event).__name__.lower()
        if isinstance(event, Renumber) and event.new == 666:
            raise BadRequest("no such number")
        key = ("told " + word).encode()
        txn.put("keys", key, str(int(txn.get("keys", key) or b"0") + 1).encode())
        for block in getattr(event, "blocks", ()):
            for data, sign in ((block.before, -1), (block.after, 1)):
                if data is not None:
                    for label, n in zip(*(c.tolist() for c in labelblocks.counts(data)), strict=True):
                        at = str(label).encode()
                        txn.put("keys", at, str(int(txn.get("keys", at) or b"0") + sign * n).encode())
        if not isinstance(event, str):
            txn.tell(word)


TALLY = Tally()
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the plug-in, installed here and for child processes."""
    site = tmp_path_factory.mktemp("site")
    info = site / "tally-1.0.dist-info"
    info.mkdir()
    (site / "dagdvid_tally.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tally\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\ntally = dagdvid_tally:TALLY\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", str(site))
        registry._entry_points.cache_clear()
        yield site
    sys.modules.pop("dagdvid_tally", None)
    registry._entry_points.cache_clear()
    registry.datatype.cache_clear()


def prepare(ask: Any) -> str:
    """A repo with labels, one that follows them, and one that follows that one."""
    root = ask("POST", "/api/repos", {})["root"]
    settings = {"BlockSize": "16,16,16"}
    ask("POST", f"/api/repo/{root}/instance", {"typename": "labelmap", "dataname": "seg", **settings})
    for name, followed in (("one", "seg"), ("two", "one")):
        ask("POST", f"/api/repo/{root}/instance", {"typename": "tally", "dataname": name})
        ask("POST", f"/api/node/{root}/{name}/sync", {"sync": followed})
    return root


def volume(seed: int) -> np.ndarray:
    labels = np.random.default_rng(seed).integers(0, 6, (4, 4, 8)).astype(np.uint64)
    return labels.repeat(4, 0).repeat(4, 1).repeat(4, 2)


def test_events_are_one_transaction(site: Path, tmp_path: Path) -> None:
    server = Server.open(Config(data=tmp_path / "data", labelmap_split=True))
    try:
        call = Caller(server)
        root = prepare(call.json)

        def post(path: str, body: bytes, **query: str) -> Any:
            found = server.find("POST", f"/api/node/{root}/seg/{path}")
            assert found is not None
            reply = server.handle(found, Request("POST", f"/x/{path}", found.args, query, {}, body, local=True))
            assert isinstance(reply.body, bytes)
            return json.loads(reply.body) if reply.body else None

        def told(name: str) -> dict[str, int]:
            return {key[5:]: call.json("GET", f"/api/node/{root}/{name}/key/{key}") for key in keys(name, "told")}

        def keys(name: str, word: str) -> list[str]:
            return [key for key in call.json("GET", f"/api/node/{root}/{name}/keys") if key.startswith(word)]

        def voxels() -> dict[int, int]:
            found = {int(key): call.json("GET", f"/api/node/{root}/one/key/{key}") for key in keys("one", "")[:-1]
                     if key.isdigit()}  # fmt: skip
            return {label: n for label, n in found.items() if n}

        first = volume(1)
        post("raw/0_1_2/32_16_16/0_0_0", first.tobytes())
        second = volume(2)
        post("raw/0_1_2/32_16_16/0_0_0", second.tobytes(), mutate="true")
        assert voxels() == {s: int((second == s).sum()) for s in range(1, 6)}
        post("merge", b"[1,2,3]")
        post("cleave/1", b"[2]")
        post("renumber", b"[20,1]")
        mask = second == 4
        mask[:, :, 16:] = False
        post("split-supervoxel/4", write_rles(runs.of_mask(mask)))
        mask = (second == 1) | (second == 3)
        mask[8:] = False
        made = post("split/20", write_rles(runs.of_mask(mask)))["label"]
        assert call.json("GET", f"/api/node/{root}/seg/size/{made}") == {"voxels": int(mask.sum())}
        rest = int(((second == 1) | (second == 3)).sum() - mask.sum())
        assert call.json("GET", f"/api/node/{root}/seg/size/20") == {"voxels": rest}
        words = {"ingest", "overwrite", "merge", "cleave", "renumber", "splitsupervoxel", "split"}
        assert told("one") == told("two") == dict.fromkeys(words, 1)
        listed = [label for label in voxels() if label]
        sizes = call.json("GET", f"/api/node/{root}/seg/sizes", listed, supervoxels="true")
        assert voxels() == dict(zip(listed, sizes, strict=True))
        with pytest.raises(BadRequest, match="no such number"):
            post("renumber", b"[666,5]")
        assert call.json("GET", f"/api/node/{root}/seg/sizes", [5, 666])[1] == 0
        assert told("one")["renumber"] == 1
        amended(server, call, root, post)
        assert told("one")["merge"] == told("two")["merge"] == 2
    finally:
        server.close()


def amended(server: Server, call: Caller, root: str, post: Any) -> None:
    """A merge in a committed version."""
    call.json("POST", f"/api/node/{root}/commit", {})
    found = server.find("POST", f"/api/node/{root}/seg/merge")
    assert found is not None
    reply = server.handle(found, Request("POST", "/x", found.args, {}, {}, b"[20,5]", local=True, admin=True))
    assert reply.finish is None
    assert isinstance(reply.body, bytes)
    assert json.loads(reply.body)["MutationID"] > 0


def test_a_killed_server_told_all_that_it_did(site: Path, tmp_path: Path) -> None:
    rng = random.Random(4)
    root = ""
    for _ in range(3):
        with ServerProcess(tmp_path / "data", "127.0.0.1:0") as server:

            def ask(method: str, path: str, value: Any, server: Any = server) -> Any:
                answer = httpx.request(method, server.url + path, content=json.dumps(value), timeout=30)
                answer.raise_for_status()
                return answer.json() if answer.content else None

            if not root:
                root = prepare(ask)
            counts = {key: ask("GET", f"/api/node/{root}/one/key/{key}", None)
                      for key in ask("GET", f"/api/node/{root}/one/keys", None) if key.startswith("told")}  # fmt: skip
            done = ask("GET", f"/api/node/{root}/seg/mutations", None)
            by_word = {word: sum(each["Action"] == f"{word}-complete" for each in done) for word in ("merge", "cleave")}
            assert {word: counts.get(f"told {word}", 0) for word in by_word} == by_word
            worker = threading.Thread(target=busy, args=(server.url, root))
            worker.start()
            time.sleep(0.5 + rng.random())
            server._process.kill()
            worker.join()
    assert by_word["merge"] > 1
    assert by_word["cleave"] > 1


def busy(url: str, root: str) -> None:
    """Merges and cleaves until the server dies."""
    at = f"{url}/api/node/{root}/seg"
    with httpx.Client(timeout=30) as client:
        try:
            client.post(f"{at}/raw/0_1_2/32_16_16/0_0_0", content=volume(3).tobytes(), params={"mutate": "true"})
            while True:
                answer = client.post(f"{at}/merge", content=json.dumps(client.get(f"{at}/existing-labels").json()[:2]))
                if answer.status_code == 200:
                    label = client.get(f"{at}/existing-labels").json()[0]
                    supervoxels = client.get(f"{at}/supervoxels/{label}").json()
                    client.post(f"{at}/cleave/{label}", content=json.dumps(supervoxels[:1]))
        except httpx.TransportError:
            pass
