"""POST and GET /api/server/command: DVID's words in, text out."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import pytest
from calling import Caller

from dagdvid.commands import COMMANDS
from dagdvid.errors import BadRequest, Forbidden, Locked, UnknownName
from dagdvid.registry import datatype
from dagdvid.server import Server


class Commander:
    def __init__(self, server: Server) -> None:
        self.call = Caller(server)

    def __call__(self, text: str, stdin: bytes = b"", method: str = "POST", **query: str) -> str:
        body = {"words": text.split(), "stdin": base64.b64encode(stdin).decode()}
        reply = self.call(method, "/api/server/command", json.dumps(body).encode(), **query)
        assert reply.content_type == "text/plain"
        return reply.body.decode()


@pytest.fixture
def command(server: Server) -> Commander:
    return Commander(server)


@pytest.fixture
def root(command: Commander) -> str:
    return command("repos new sample text").split()[-1]


def test_new_repo(command):
    assert re.fullmatch(r'New repo "a" created with head node [0-9a-f]{32}\n', command("repos new a"))
    uuid = "0123456789abcdef0123456789abcdef"
    assert command(f"repos new b words uuid={uuid}") == f'New repo "b" created with head node {uuid}\n'
    info = command.call.json("GET", f"/api/repo/{uuid}/info")
    assert (info["Alias"], info["Description"]) == ("b", "words")
    with pytest.raises(BadRequest, match="taken"):
        command(f"repos new c uuid={uuid}")


def test_data_and_versions(command, root):
    assert command(f"repo {root[:9]} new keyvalue kv versioned=false") == f'Data "kv" [keyvalue] added to node {root}\n'
    base = command.call.json("GET", f"/api/node/{root}/kv/info")["Base"]
    assert base["Versioned"] is False
    with pytest.raises(BadRequest, match="taken"):
        command(f"repo {root} new keyvalue kv")
    with pytest.raises(UnknownName, match="nosuch"):
        command(f"repo {root} new nosuch x")
    with pytest.raises(BadRequest, match="commit"):
        command(f"repo {root} newversion")
    command.call.json("POST", f"/api/node/{root}/commit", {"note": "", "log": []})
    command(f"repo {root} new keyvalue later")  # as DVID: data is made in the repo, not in the version
    child = "11111111111111111111111111111111"
    assert command(f"repo {root} newversion {child}") == f"Branch {child} added to node {root}\n"
    side = command(f"repo {root} branch side").split()[1]
    nodes = command.call.json("GET", f"/api/repo/{root}/info")["DAG"]["Nodes"]
    assert (nodes[child]["Branch"], nodes[side]["Branch"]) == ("", "side")
    assert nodes[side]["Note"] == f"branch of {root}"
    with pytest.raises(BadRequest, match="master goes on with newversion"):
        command(f"repo {root} branch master")
    log = command.call.json("GET", f"/api/repo/{root}/log")["log"]
    assert [line.partition("  ")[2] for line in log if "  repo " in line] == [
        f"repo {root[:9]} new keyvalue kv versioned=false",
        f"repo {root} new keyvalue later",
        f"repo {root} newversion {child}",
        f"repo {root} branch side",
    ]


def test_merge(command, root):
    command(f"repo {root} new keyvalue kv")
    command.call.json("POST", f"/api/node/{root}/commit", {"note": "", "log": []})
    sides = []
    for name in ("one", "two"):
        sides.append(command(f"repo {root} branch {name}").split()[1])
        command(f"node {sides[-1]} kv put {name}", name.encode())
        command.call.json("POST", f"/api/node/{sides[-1]}/commit", {"note": "", "log": []})
    said = command(f"repo {sides[0]} merge {sides[1]}")
    merged = re.fullmatch(rf"Parents \[{sides[0]} {sides[1]}\] merged into node ([0-9a-f]{{32}})\n", said)
    assert merged
    assert command.call("GET", f"/api/node/{merged[1]}/kv/key/two").body == b"two"
    other = command("repos new other").split()[-1]
    with pytest.raises(BadRequest, match="another repo"):
        command(f"repo {sides[0]} merge {other}")


def test_put(command, root):
    command(f"repo {root} new keyvalue kv")
    data = bytes(range(256))
    said = command(f"node {root} kv put a=b", data, u="me")
    assert said == f'Put 256 bytes into key "a=b" for keyvalue "kv", uuid {root}\n'
    assert command.call("GET", f"/api/node/{root}/kv/key/a=b").body == data
    mutation = command.call.json("GET", f"/api/node/{root}/kv/mutations")[-1]
    assert (mutation["Action"], mutation["Key"], mutation["User"]) == ("postkv", "a=b", "me")
    with pytest.raises(BadRequest, match="nothing came on standard input"):
        command(f"node {root} kv put a")
    with pytest.raises(BadRequest, match="did you mean 'put'"):
        command(f"node {root} kv putt a", b"x")
    with pytest.raises(BadRequest, match="tar=true"):
        command(f"node {root} kv dump-cloud bucket")
    with pytest.raises(UnknownName, match="invalid data instance name"):
        command(f"node {root} none put a", b"x")
    command.call.json("POST", f"/api/node/{root}/commit", {"note": "", "log": []})
    with pytest.raises(Locked):
        command(f"node {root} kv put a", b"x")


def test_a_type_without_commands(command, root):
    command(f"repo {root} new roi gray")
    assert not datatype("roi").commands.commands, "choose another type for this test"
    with pytest.raises(BadRequest, match="roi, has no commands"):
        command(f"node {root} gray put x")


def test_help_has_every_command_and_data_help_those_of_the_type(command, root):
    said = command("help", method="GET")
    assert all(f"{each.usage}\n" in said for each in COMMANDS)
    assert command("help repo merge", method="GET").startswith("repo UUID merge PARENT...\n")
    with pytest.raises(BadRequest, match="did you mean"):
        command("help repoo")
    command(f"repo {root} new keyvalue kv")
    assert "\nnode UUID NAME put KEY\n" in command(f"node {root} kv help", method="GET")
    assert "\nnode UUID NAME put KEY\n" in command("types keyvalue help", method="GET")


def test_types(command):
    lines = command("types", method="GET").splitlines()
    assert ["keyvalue", datatype("keyvalue").url] in [line.split() for line in lines]


def test_storage_details(command, root):
    found = json.loads(command(f"repo {root} storage-details", method="GET"))
    assert found["repo"]["versions"] == 1


def test_get_changes_nothing(command, root):
    with pytest.raises(Forbidden, match="POST it"):
        command("repos new x", method="GET")
    assert list(command.call.json("GET", "/api/repos/info")) == [root]


def test_shutdown(server, command):
    with pytest.raises(BadRequest, match="nobody serves"):
        command("shutdown")
    asked = []
    server.stop = lambda: asked.append(True)
    assert command("shutdown") == "The server is stopping.\n"
    assert asked == [True]


def test_dvids_own_commands_say_what_takes_their_place(command, root):
    with pytest.raises(BadRequest, match="one data directory"):
        command(f"repo {root} migrate kv a b")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"words": "help"}', b'{"words": [1]}', b'{"words": ["help"], "stdin": "%"}']
)
def test_malformed(call, body):
    with pytest.raises(BadRequest):
        call("POST", "/api/server/command", body)


def test_progress(command, root):
    lines = command.call("POST", "/api/server/command", b'{"words": ["types"]}', progress="true").body
    assert [list(json.loads(line)) for line in lines.splitlines()] == [["result"]]
    words = json.dumps({"words": ["repo", root, "push", "http://127.0.0.1:1"]}).encode()
    command.call.json("POST", f"/api/node/{root}/commit", {"note": "", "log": []})
    *_, last = command.call("POST", "/api/server/command", words, progress="true").body.splitlines()
    assert "127.0.0.1:1" in json.loads(last)["error"]
    with pytest.raises(BadRequest, match="transmit=flatten"):
        command(f"repo {root} push localhost:1 transmit=flatten")


def test_rename_and_delete_with_a_passcode(command):
    root = command("repos new sample text passcode=open").split()[-1]
    command(f"repo {root} new keyvalue kv")
    with pytest.raises(Forbidden, match="passcode"):
        command(f"repo {root} rename kv other")
    assert root in command(f"repo {root} rename kv other open")
    assert list(command.call.json("GET", f"/api/repo/{root}/info")["DataInstances"]) == ["other"]
    with pytest.raises(Forbidden, match="passcode"):
        command(f"repo {root} delete other")
    uuid = command.call.json("GET", f"/api/node/{root}/other/info")["Base"]["DataUUID"]
    command(f"repo {root} delete {uuid} open")
    assert command.call.json("GET", f"/api/repo/{root}/info")["DataInstances"] == {}
    with pytest.raises(Forbidden, match="passcode"):
        command(f"repos delete {root} wrong")
    assert command(f"repos delete {root} open") == f"Deleted repo {root}\n"
    assert command.call.json("GET", "/api/repos/info") == {}


def test_copy(command, root):
    command(f"repo {root} new keyvalue kv")
    command(f"node {root} kv put k", b"value")
    assert f"at node {root}" in command(f"repo {root} copy kv twin transmit=flatten")
    assert command.call("GET", f"/api/node/{root}/twin/key/k").body == b"value"
    with pytest.raises(BadRequest, match="filter=roi"):
        command(f"repo {root} copy kv other filter=roi:x,y")


def test_branches_change_places_and_are_hidden(command, root):
    command.call.json("POST", f"/api/node/{root}/commit", {"note": "", "log": []})
    master = command(f"repo {root} newversion").split()[1]
    side = command(f"repo {root} branch side").split()[1]
    third = command(f"repo {root} branch third").split()[1]
    assert side in command(f"repo {side} make-master old")
    nodes = command.call.json("GET", f"/api/repo/{root}/info")["DAG"]["Nodes"]
    assert (nodes[master]["Branch"], nodes[side]["Branch"]) == ("old", "")
    assert "Hid branch old" in command(f"repo {root} hide-branch old")
    assert set(command.call.json("GET", f"/api/repo/{root}/info")["DAG"]["Nodes"]) == {root, side, third}
    with pytest.raises(UnknownName):
        command(f"repo {root} hide-branch old")
    wanted = json.dumps({"Versions": [third]}).encode()
    assert command(f"repo {root} limit-versions", wanted) == f"Hid 1 versions of the repo with root {root}\n"
    for wrong in (b"", b"[]", b'{"Versions": "x"}', b'{"Versions": [1]}'):
        with pytest.raises(BadRequest, match="must be JSON"):
            command(f"repo {root} limit-versions", wrong)


def test_in_full_write_mode_a_committed_version_is_amended(config):
    server = Server.open(replace(config, fullwrite=True))
    command = Commander(server)
    root = command("repos new sample").split()[-1]
    command(f"repo {root} new keyvalue kv")
    command.call.json("POST", f"/api/node/{root}/commit", {"note": "", "log": []})
    before = command.call.json("GET", f"/api/node/{root}/hash")
    command(f"node {root} kv put k", b"late")
    assert command.call("GET", f"/api/node/{root}/kv/key/k").body == b"late"
    assert command.call.json("GET", f"/api/node/{root}/hash") != before
    server.close()
