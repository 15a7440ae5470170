"""Label blocks that another server sends must be such as this one would have stored."""

from __future__ import annotations

import io

import pytest

from dagdvid.config import Config
from dagdvid.errors import Unverified
from dagdvid.kernels import labelblocks
from dagdvid.kernels.morton import key_ref
from dagdvid.remote.send import missing_owners, offer, write_bundle
from dagdvid.server import Server

SHAPE = (16, 16, 16)


@pytest.fixture
def sides(tmp_path, call):
    caller = type(call)
    made = [caller(Server.open(Config(data=tmp_path / name))) for name in ("sender", "receiver")]
    yield made
    for side in made:
        side.server.close()


@pytest.mark.parametrize(
    ("key", "value", "sound"),
    [
        (key_ref(0, 0, 0), labelblocks.solid(5, SHAPE), True),
        (key_ref(-1, 2, 0, 1), labelblocks.solid(5, SHAPE), True),
        (key_ref(0, 0, 0, 1), b"", True),
        (key_ref(0, 0, 0), b"nonsense", False),
        (key_ref(0, 0, 0), labelblocks.solid(5, (32, 16, 16)), False),
        (key_ref(0, 0, 0), labelblocks.solid(5, SHAPE)[:-1], False),
        (key_ref(0, 0, 0)[:-1], labelblocks.solid(5, SHAPE), False),
    ],
)
def test_only_sound_blocks_are_taken(sides, key, value, sound):
    sender, receiver = sides
    root = sender.json("POST", "/api/repos", {})["root"]
    settings = {"typename": "labelmap", "dataname": "seg", "BlockSize": "16,16,16"}
    sender.json("POST", f"/api/repo/{root}/instance", settings)
    catalog = sender.server.catalog
    repo, version = catalog.find(root)
    txn = catalog.txn(repo, version, repo.instance("seg"))
    txn.put("blocks", key, labelblocks.solid(1, SHAPE))
    catalog.commit_txn(txn, version)
    sender.json("POST", f"/api/node/{root}/commit", {})
    child = sender.json("POST", f"/api/node/{root}/newversion")["child"]
    repo, version = catalog.find(child)
    txn = catalog.txn(repo, version, repo.instance("seg"))
    txn.put("blocks", key, value)
    catalog.commit_txn(txn, version)
    sender.json("POST", f"/api/node/{child}/commit", {})
    file = io.BytesIO()
    offered = offer(catalog, catalog.repos()[root])
    write_bundle(catalog, offered, missing_owners(catalog, offered, []), file)
    if sound:
        receiver.json("POST", "/api/sync/bundle", file.getvalue())
        assert child in receiver.json("GET", "/api/repos/info")[root]["DAG"]["Nodes"]
    else:
        with pytest.raises(Unverified, match="cannot be"):
            receiver.json("POST", "/api/sync/bundle", file.getvalue())
        assert receiver.json("GET", "/api/repos/info") == {}
