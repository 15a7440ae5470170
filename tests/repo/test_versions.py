"""Repos, versions, branches, locks and texts, with the statuses and phrases of DVID."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from dagdvid.errors import BadRequest, DagdvidError, KeyAbsent, Locked, RequestError, UnknownName
from dagdvid.repo.record import now

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{9})?Z")


def new_repo(call, **body) -> str:
    return call.json("POST", "/api/repos", body)["root"]


@pytest.fixture
def root(call) -> str:
    root = new_repo(call, alias="a", description="d")
    call.json("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "kv"})
    return root


def commit(call, uuid: str, /, **body) -> None:
    assert call.json("POST", f"/api/node/{uuid}/commit", body) == {"committed": uuid}


def child(call, uuid: str, /, **body) -> str:
    return call.json("POST", f"/api/node/{uuid}/{'branch' if 'branch' in body else 'newversion'}", body)["child"]


def found(call, text: str) -> str:
    return call.server.catalog.find(text)[1].uuid


def test_a_new_repo(call):
    root = new_repo(call, Alias="A", DESCRIPTION="D")
    info = call.json("GET", f"/api/repo/{root}/info")
    assert re.fullmatch("[0-9a-f]{32}", root)
    assert (info["Root"], info["Alias"], info["Description"], info["Log"]) == (root, "A", "D", [])
    assert (info["Properties"], info["DataInstances"]) == ({}, {})
    assert info["MutationID"] == info["SavedMutationID"] == 1_000_000_000
    assert STAMP.fullmatch(info["Created"])
    assert STAMP.fullmatch(info["Updated"])
    node = info["DAG"]["Nodes"][root]
    assert info["DAG"]["Root"] == root
    assert node == {
        "Branch": "",
        "Note": "",
        "Log": [],
        "UUID": root,
        "VersionID": 1,
        "Locked": False,
        "Parents": [],
        "Children": [],
        "Created": node["Created"],
        "Updated": node["Updated"],
    }
    assert call.json("GET", "/api/repos/info") == {root: info}


def test_the_root_may_be_named(call):
    assert new_repo(call, root="zz12") == "zz12"
    with pytest.raises(BadRequest, match="taken"):
        new_repo(call, root="zz12")
    for bad in ("a/b", "a:b", "a~b", "a b\n", "?", " x", "%41"):
        with pytest.raises(BadRequest, match="cannot be a UUID"):
            new_repo(call, root=bad)
    assert list(call.json("GET", "/api/repos/info")) == ["zz12"]


@pytest.mark.parametrize("body", [{"alias": 5}, {"alias": "\ud800"}, {"root": None}])
def test_bodies_that_cannot_be(call, body):
    with pytest.raises(BadRequest):
        new_repo(call, **body)
    assert call.json("GET", "/api/repos/info") == {}


@pytest.mark.parametrize("body", [b"[]", b"{", b'"x"', b"[" * 100_000, b"\xff"])
def test_bodies_that_are_no_json_objects(call, body):
    with pytest.raises(BadRequest):
        call("POST", "/api/repos", body)


def test_commit_newversion_branch(call, root):
    with pytest.raises(BadRequest, match="can't branch an unlocked node"):
        child(call, root)
    with pytest.raises(BadRequest, match="can't branch an unlocked node"):
        child(call, root, branch="x")
    with pytest.raises(BadRequest):
        call("POST", f"/api/node/{root}/commit", b"")
    commit(call, root, note="done", log=["one", "two"])
    with pytest.raises(Locked, match=f"Cannot do post on locked node {root}"):
        call.json("POST", f"/api/node/{root}/commit", {"note": "again"})
    one = child(call, root, note="its note")
    with pytest.raises(BadRequest, match="branch already exists with given name"):
        child(call, root)
    side = child(call, root, branch="side", note="aside")
    with pytest.raises(BadRequest, match="branch already exists with given name"):
        child(call, root, branch="side")
    call.server.upkeep.settle()
    nodes = call.json("GET", f"/api/repo/{root}/info")["DAG"]["Nodes"]
    assert nodes[root]["Note"] == "done"
    assert [line.split("  ")[1] for line in nodes[root]["Log"]] == ["one", "two"]
    assert (nodes[one]["Branch"], nodes[one]["Note"], nodes[side]["Branch"]) == ("", "its note", "side")
    assert nodes[root]["Children"] == [nodes[one]["VersionID"], nodes[side]["VersionID"]]
    assert nodes[one]["Parents"] == nodes[side]["Parents"] == [nodes[root]["VersionID"]]
    assert "Hash" in nodes[root]
    assert "Hash" not in nodes[one]
    assert nodes[root]["Hash"] == call.json("GET", f"/api/node/{root}/hash")["hash"]
    with pytest.raises(BadRequest, match="no hash before it is committed"):
        call("GET", f"/api/node/{one}/hash")
    commit(call, one)
    commit(call, side)
    assert child(call, side, branch="side") != side  # its own branch: as newversion


def test_uuids_may_be_given(call, root):
    commit(call, root)
    uuid = "0123456789abcdef" * 2
    assert child(call, root, uuid=uuid) == uuid
    for bad in (uuid[:-1], "x" * 32):
        with pytest.raises(BadRequest, match="32 hexadecimal digits"):
            child(call, root, branch="b", uuid=bad)
    capitals = "AB" * 16  # as DVID: taken as it is, and found as it is
    assert child(call, root, branch="capitals", uuid=capitals) == capitals
    assert found(call, capitals) == found(call, "ABAB") == capitals
    with pytest.raises(UnknownName):
        found(call, capitals.lower())
    for taken in (uuid, root):
        with pytest.raises(BadRequest, match="taken"):
            child(call, root, branch="b", uuid=taken)


@pytest.mark.parametrize("branch", ["", "master", None, 5])
def test_branches_that_cannot_be(call, root, branch):
    commit(call, root)
    with pytest.raises(BadRequest):
        child(call, root, branch=branch)


def test_finding_versions(call, root):
    commit(call, root)
    one = child(call, root, uuid="aaaa" + "0" * 28)
    commit(call, one)
    two = child(call, one, uuid="aaab" + "0" * 28)
    side = child(call, root, branch="side")
    others = (one, two, side)
    for n in range(1, 33):
        if not any(other.startswith(root[:n]) for other in others):
            assert found(call, root[:n]) == root
    assert found(call, "aaab") == found(call, "aaab:") == two
    with pytest.raises(BadRequest, match="more than one UUID matches 'aaa'"):
        found(call, "aaa")
    for missing in ("ffff" + "9" * 28, root + "0", "nothing"):
        with pytest.raises(UnknownName, match="could not find UUID with partial match to"):
            found(call, missing)
    assert found(call, f"{root}:master") == found(call, ":master") == two
    assert found(call, f"{side[:8]}:side") == found(call, ":side") == side
    assert [found(call, f":master~{n}") for n in range(3)] == [two, one, root]
    assert [found(call, f"{one}:side~{n}") for n in range(2)] == [side, root]
    with pytest.raises(BadRequest, match="parent 9 is out of range for branch 'master'"):
        found(call, ":master~9")
    with pytest.raises(BadRequest, match="out of range"):
        found(call, ":nowhere~0")
    with pytest.raises(UnknownName, match="no branch 'Side'"):
        found(call, ":Side")
    for bad in (":a:b", f"{root}:master:", ":master~", ":master~x", ":master~-1", ":master~1~1"):
        with pytest.raises(BadRequest, match="bad UUID specification"):
            found(call, bad)
    new_repo(call)
    with pytest.raises(BadRequest, match="more than one repo"):
        found(call, ":master")
    assert found(call, f"{root[:10]}:master") == two
    assert call.json("GET", f"/api/repo/{root}/branch-versions/master") == [two, one, root]
    assert call.json("GET", f"/api/repo/{one}/branch-versions/side") == [side, root]
    assert call.json("GET", f"/api/repo/{root}/branch-versions/nowhere") == []


def test_endpoints_take_all_forms(call, root):
    call("POST", f"/api/node/{root[:9]}/kv/key/k", b"v")
    for form in (root, root[:9], ":master", f"{root}:master", f"{root[:9]}:master~0"):
        assert call("GET", f"/api/node/{form}/kv/key/k").body == b"v"
    assert call("HEAD", f"/api/repo/{root[:9]}").status == 200
    with pytest.raises(UnknownName):
        call("HEAD", "/api/repo/ffff")


def test_notes_and_logs(call, root):
    at = f"/api/node/{root}"
    call.json("POST", f"{at}/note", {"note": "first ö"})
    assert call.json("GET", f"{at}/note") == {"note": "first ö"}
    call.json("POST", f"{at}/log", {"log": ["a", "b"]})
    call.json("POST", f"{at}/log", {"log": ["c"]})
    lines = call.json("GET", f"{at}/log")["log"]
    assert [STAMP.fullmatch(line.split("  ")[0]) is not None for line in lines] == [True] * 3
    assert [line.split("  ")[1] for line in lines] == ["a", "b", "c"]
    for path, body in (("note", {}), ("note", {"note": 5}), ("log", {}), ("log", {"log": "x"}), ("log", {"log": [1]})):
        with pytest.raises(BadRequest):
            call.json("POST", f"{at}/{path}", body)
    commit(call, root)
    assert call.json("GET", f"{at}/note") == {"note": "first ö"}  # an empty note does not replace it
    for path, body in (("note", {"note": "x"}), ("log", {"log": ["x"]})):
        with pytest.raises(Locked, match=f"Cannot do post on locked node {root}"):
            call.json("POST", f"{at}/{path}", body)
    assert call.json("GET", f"{at}/log")["log"] == lines
    assert call.json("GET", f"{at}/status") == call.json("GET", f"{at}/commit") == {"Locked": True}


def test_repo_texts(call, root):
    commit(call, root)  # locks nothing of the repo's own
    call.json("POST", f"/api/repo/{root}/info", {"ALIAS": "new"})
    call.json("POST", f"/api/repo/{root}/log", {"log": ["x", "y"]})
    info = call.json("GET", f"/api/repo/{root}/info")
    assert (info["Alias"], info["Description"]) == ("new", "d")
    lines = [line.split("  ", 1)[1] for line in call.json("GET", f"/api/repo/{root}/log")["log"]]
    assert lines[0].startswith('New data instance "kv" of type "keyvalue"')
    assert lines[1:] == ["x", "y"]


def test_writes_on_committed_versions(call, root):
    call.json("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "free", "versioned": False})
    call("POST", f"/api/node/{root}/kv/key/k", b"v")
    commit(call, root)
    for method in ("POST", "DELETE"):
        with pytest.raises(Locked, match=f'Cannot do {method} on endpoint "key" of locked node {root}'):
            call(method, f"/api/node/{root}/kv/key/k", b"w")
    with pytest.raises(BadRequest, match=f"new data instance cannot be created on locked node {root}"):
        call.json("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "late"})
    with pytest.raises(Locked):
        call.json("POST", f"/api/node/{root}/kv/tags", {"a": "b"})
    assert call("GET", f"/api/node/{root}/kv/key/k").body == b"v"
    one = child(call, root)
    call("POST", f"/api/node/{root}/free/key/k", b"1")
    assert call("GET", f"/api/node/{one}/free/key/k").body == b"1"
    call("DELETE", f"/api/node/{one}/free/key/k")
    with pytest.raises(KeyAbsent):
        call("GET", f"/api/node/{root}/free/key/k")


def test_instances_are_visible_on_all_versions(call, root):
    commit(call, root)
    one = child(call, root)
    call.json("POST", f"/api/repo/{one}/instance", {"typename": "keyvalue", "dataname": "later"})
    call("POST", f"/api/node/{one}/later/key/k", b"v")
    assert call.json("GET", f"/api/node/{root}/later/keys") == []
    assert call.json("GET", f"/api/node/{root}/later/info")["Base"]["RepoUUID"] == one
    with pytest.raises(BadRequest, match="taken"):
        call.json("POST", f"/api/repo/{one}/instance", {"typename": "keyvalue", "dataname": "later"})


def test_settings_that_nobody_knows_are_passed_over(call, root):
    body = {"typename": "keyvalue", "dataname": "x", "MaxDownresLevel": 2, "list": ["x"], "n": None, "Tags": ""}
    call.json("POST", f"/api/repo/{root}/instance", body)
    assert call.json("GET", f"/api/node/{root}/x/tags") == {"Tags": {}}
    call("POST", f"/api/node/{root}/x/tags", b"")
    call("POST", f"/api/repo/{root}/info", b"")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"dataname": "x"}, "typename"),
        ({"typename": "keyvalue"}, "name of a data instance"),
        ({"typename": "nosuch", "dataname": "x"}, "unknown datatype 'nosuch'"),
        ({"typename": "uint8blk", "dataname": "x", "BlockSize": 2}, "'blocksize' was not a string: 2"),
        ({"typename": "keyvalue", "dataname": "x", "Checksum": None}, "'checksum' was not a string: None"),
        ({"typename": "keyvalue", "dataname": "x", "tags": ["a"]}, "was not a string"),
        ({"typename": "keyvalue", "dataname": "x", "versioned": "perhaps"}, "true or false"),
        ({"typename": "keyvalue", "dataname": "x", "Compression": "best"}, "."),
        ({"typename": "keyvalue", "dataname": "a/b"}, "name of a data instance"),
        ({"typename": "keyvalue", "dataname": "line\n"}, "name of a data instance"),
        ({"typename": "keyvalue", "dataname": "\ud800"}, "."),
        ({"typename": "keyvalue", "dataname": "kv"}, "data instance name 'kv' is taken"),
        ({"typename": "keyvalue", "dataname": "x", "tags": "k" * 1100 + "=v"}, "too long"),
        *[
            ({"typename": "keyvalue", "dataname": name}, "reserved")
            for name in ("log", "branch", "note", "commit", "newversion", "diff", "hash")
        ],
    ],
)
def test_instances_that_cannot_be(call, root, body, words):
    before = call.json("GET", f"/api/repo/{root}/info")
    with pytest.raises(RequestError, match=words):
        call.json("POST", f"/api/repo/{root}/instance", body)
    assert call.json("GET", f"/api/repo/{root}/info") == before


def test_settings_of_instances(call, root):
    body = {"TypeName": "keyvalue", "DATANAME": "x", "Versioned": "0", "Tags": "a=b, c = d", "Compression": "gzip:9"}
    answer = call.json("POST", f"/api/repo/{root}/instance", body)
    assert answer == {"result": f"Added x [keyvalue] to node {root}"}
    base = call.json("GET", f"/api/node/{root}/x/info")["Base"]
    assert (base["TypeName"], base["Name"], base["Versioned"]) == ("keyvalue", "x", False)
    assert base["Tags"] == {"a": "b", "c": "d"}
    assert base["RepoUUID"] == root
    assert base["Syncs"] == []
    assert call.json("GET", f"/api/repo/{root}/info")["DataInstances"]["x"]["Base"] == base


def test_tags(call, root):
    at = f"/api/node/{root}/kv/tags"
    assert call.json("GET", at) == {"Tags": None}
    call.json("POST", at, {"a": "1", "b": "2"})
    call.json("POST", at, {"b": "3"})
    assert call.json("GET", at) == {"Tags": {"a": "1", "b": "3"}}
    call.json("POST", at, {"c": "4"}, replace="true")
    assert call.json("GET", at) == {"Tags": {"c": "4"}}
    for bad in ({"a": 1}, {"k" * 1100: "v"}, [], {"\udc00": "x"}):
        with pytest.raises(BadRequest):
            call.json("POST", at, bad)
    assert call.json("GET", at) == {"Tags": {"c": "4"}}
    call.json("POST", at, {}, replace="true")
    assert call.json("GET", at) == {"Tags": {}}
    assert call.json("GET", f"/api/node/{root}/kv/info")["Base"]["Tags"] == {}


def test_methods_of_info(call, root):
    call("POST", f"/api/repo/{root}/instance", {"typename": "uint8blk", "dataname": "gray"})
    whole = call.json("GET", f"/api/node/{root}/kv/info")
    assert call.json("POST", f"/api/node/{root}/kv/info", {"ignored": "yes"}) == whole
    assert call("HEAD", f"/api/node/{root}/kv/info").status == 200
    for method in ("HEAD", "POST"):
        with pytest.raises(BadRequest, match="GET only"):
            call(method, f"/api/node/{root}/gray/info")


def test_tags_of_versions(call, root):
    call("POST", f"/api/node/{root}/kv/key/k", b"v")
    with pytest.raises(BadRequest, match="unlocked"):
        call.json("POST", f"/api/node/{root}/tag", {"tag": "v1.0"})
    commit(call, root)
    assert call.json("POST", f"/api/node/{root}/tag", {"tag": "v1.0"}) == {"child": "v1.0"}
    assert call("GET", "/api/node/v1.0/kv/key/k").body == b"v"
    node = call.json("GET", f"/api/repo/{root}/info")["DAG"]["Nodes"]["v1.0"]
    assert (node["Branch"], node["Locked"]) == ("tag-v1.0", True)
    assert node["Note"] == f'Tag of version {root} with "v1.0"'
    for bad in ("v1.0", "a/b", "", "x:y"):
        with pytest.raises(BadRequest):
            call.json("POST", f"/api/node/{root}/tag", {"tag": bad})


def test_everything_is_there_after_a_restart(call, root, server, config):
    call("POST", f"/api/node/{root}/kv/key/k", b"v")
    commit(call, root, note="n")
    one = child(call, root)
    call("POST", f"/api/node/{one}/kv/key/k", b"open")
    server.upkeep.settle()
    before = call.json("GET", "/api/repos/info")
    server.close()
    again = type(server).open(config)
    try:
        call.server = again
        assert call.json("GET", "/api/repos/info") == before
        assert call("GET", f"/api/node/{one}/kv/key/k").body == b"open"
        assert call("GET", f"/api/node/{root}/kv/key/k").body == b"v"
    finally:
        again.close()


def test_many_at_once(call, root):
    """Instances, log lines and repos made by many threads: none is lost, one name is given once."""

    def instance(i: int) -> bool:
        try:
            call.json("POST", f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": f"i{i // 2}"})
        except DagdvidError as error:
            assert "is taken" in str(error)
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(instance, range(40)))
        list(pool.map(lambda i: call.json("POST", f"/api/repo/{root}/log", {"log": [f"line {i}"]}), range(40)))
        list(pool.map(lambda _: new_repo(call), range(20)))
        commits = list(pool.map(lambda _: attempt(lambda: commit(call, root)), range(8)))
        children = list(pool.map(lambda _: attempt(lambda: child(call, root)), range(8)))
    assert sum(made) == 20
    assert sum(commits) == sum(children) == 1
    info = call.json("GET", f"/api/repo/{root}/info")
    assert sorted(info["DataInstances"]) == sorted(["kv", *(f"i{i}" for i in range(20))])
    assert {line.split("  ", 1)[1] for line in info["Log"] if "line" in line} == {f"line {i}" for i in range(40)}
    assert len(call.json("GET", "/api/repos/info")) == 21


def attempt(work) -> bool:
    try:
        work()
    except RequestError:
        return False
    return True


def test_times_have_nanoseconds():
    assert STAMP.fullmatch(now())
    assert now() <= now()
