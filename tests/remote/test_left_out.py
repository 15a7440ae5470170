"""What does not travel: versions that are left out, deleted instances, and all of it in a dry run."""

from __future__ import annotations

import pytest
from sites import Site, same

from dagdvid.config import Config
from dagdvid.errors import DagdvidError
from dagdvid.remote.transfer import clone, pull, push
from dagdvid.repo.collect import collect
from dagdvid.repo.manage import restore_instance
from dagdvid.server import Server


@pytest.fixture
def root(a: Site, b: Site) -> str:
    """A repo that both have, each with the other as a remote called other."""
    root = a.repo("shared")
    a.put(root, "k", b"0")
    a.commit(root)
    b.clone(f"{a.url}/{root}")
    a.remote(root, b)
    b.remote(root, a)
    return root


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_one_tag_of_two_versions(a: Site, b: Site, root: str, verb: str):
    tag = f"v1-{root[:8]}"
    one, two = a.step(root, "one", k=b"1"), b.step(root, "two", k=b"2")
    for site, at in ((a, one), (b, two)):
        site.json("POST", f"/api/node/{at}/tag", {"tag": tag}, u=f"of-{site.url[-2:]}")
    hashes = [site.hash(tag) for site in (a, b)]
    before = (a.info(root), b.info(root))
    for way in ("push", "pull"):
        answer = a.ask("POST", f"/api/repo/{root}/{way}", {"remote": "other"})
        assert answer.status_code == 409
        assert all(word in answer.text for word in (tag, *hashes, "there", f'"without": ["{tag}"]'))
    ours, theirs = a.info(root), b.info(root)
    assert (ours["DAG"], theirs["DAG"]) == (before[0]["DAG"], before[1]["DAG"])
    source, target = (a, b) if verb == "push" else (b, a)
    assert getattr(a, verb)(root, without=[tag])["versions"] == 1
    assert target.get(one if verb == "push" else two, "k") == (b"1" if verb == "push" else b"2")
    assert [site.hash(tag) for site in (a, b)] == hashes
    again = getattr(a, verb)(root, without=[tag])
    assert (again["versions"], again["objects"]) == (0, 0)
    assert source.hash(tag) != target.hash(tag)


def test_what_comes_after_is_left_out_too(a: Site, b: Site, root: str):
    one = a.step(root, k=b"1")
    two = a.step(one, k=b"2")
    side = a.step(root, "side", k=b"3")
    a.push(root, without=[one])
    assert {*b.nodes(root)} == {root, side}
    b.pull(root, without=[two, "no such"])
    assert {*b.nodes(root)} == {root, side, one}
    a.push(root)
    same(a, b, root)
    assert two in b.nodes(root)
    for body in ({"without": "x"}, {"without": [1]}):
        for verb in ("push", "pull"):
            assert a.ask("POST", f"/api/repo/{root}/{verb}", {"remote": "other", **body}).status_code == 400


def test_a_dry_run_tells_what_would_travel_and_changes_nothing(a: Site, b: Site, root: str):
    a.step(root, "x", k=b"1", large=b"l" * 3000, larger=bytes(range(256)) * 20_000)
    before = (a.info(root), b.info(root))
    told = a.json("POST", f"/api/repo/{root}/push", {"remote": "other"}, **{"dry-run": "true"})
    taken = b.json("POST", f"/api/repo/{root}/pull", {"remote": "other"}, **{"dry-run": "true"})
    assert (a.info(root), b.info(root)) == before
    done = a.push(root)
    assert told["dry_run"]
    assert taken["dry_run"]
    assert (told["versions"], told["objects"]) == (done["versions"], done["objects"])
    assert taken["versions"] == 1
    assert told["bytes"] <= done["bytes"] <= told["bytes"] + 10_000  # what is more are questions and heads
    for verb, site in (("push", a), ("pull", b)):
        nothing = site.json("POST", f"/api/repo/{root}/{verb}", {"remote": "other"}, **{"dry-run": "true"})
        assert (nothing["versions"], nothing["objects"]) == (0, 0)


class Here:
    """A server in this process, whose garbage can be collected."""

    def __init__(self, folder, caller) -> None:
        self.config = Config(data=folder)
        self.caller = caller
        self.open()

    def open(self) -> None:
        self.server = Server.open(self.config)
        self.catalog = self.server.catalog
        self.call = self.caller(self.server)

    def run(self, steps):
        (*_, last) = steps
        return last["result"]

    def delete(self, root: str, name: str) -> None:
        self.call("DELETE", f"/api/repo/{root}/{name}", imsure="true")

    def collect(self) -> int:
        """From a fresh start: packs that are open are not collected."""
        self.server.close()
        self.open()
        return self.run(collect(self.catalog, forget=True))["bytes"]

    def repo(self, root: str):
        return self.catalog.repos()[root]


@pytest.fixture
def here(tmp_path, call):
    here = Here(tmp_path / "here", type(call))
    yield here
    here.server.close()


def doomed(site: Site) -> str:
    """A repo with an instance of which much is committed, and one besides."""
    root = site.repo()
    site.instance(root, "doomed")
    for i in range(300):
        site.put(root, f"{i}", bytes([i % 256]) * 2000, "doomed")
    site.put(root, "k", b"kept")
    site.commit(root)
    return root


def test_what_was_deleted_and_collected_travels_as_given_up(a: Site, b: Site, here: Here):
    root = doomed(a)
    here.run(clone(here.catalog, a.url, root))
    here.delete(root, "doomed")
    assert here.collect() > 0
    child = here.call.json("POST", f"/api/node/{root}/newversion", {})["child"]
    here.call("POST", f"/api/node/{child}/kv/key/k", b"later")
    here.call.json("POST", f"/api/node/{child}/commit", {"note": ""})
    result = here.run(push(here.catalog, here.repo(root), b.url))
    assert result["versions"] == 2
    assert b.get(child, "k") == b"later"
    assert list(b.info(root)["DataInstances"]) == ["kv"]
    assert b.hash(root) == a.hash(root)
    assert b.fsck()["ok"]
    # who still had it loses it with the record, and what it then changed in it is passed over
    here.run(push(here.catalog, here.repo(root), a.url))
    assert list(a.info(root)["DataInstances"]) == ["kv"]
    assert a.hash(child) == b.hash(child)


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_one_deletes_what_the_other_goes_on_with(a: Site, here: Here, verb: str):
    root = doomed(a)
    here.run(clone(here.catalog, a.url, root))
    here.delete(root, "doomed")
    here.collect()
    child = a.child(root)
    a.put(child, "1", b"more" * 1000, "doomed")
    a.put(child, "k", b"also")
    a.commit(child)
    if verb == "pull":
        here.run(pull(here.catalog, here.repo(root), a.url, "origin"))
    else:
        here.run(pull(here.catalog, here.repo(root), a.url, "origin"))
        here.run(push(here.catalog, here.repo(root), a.url))
        assert list(a.info(root)["DataInstances"]) == ["kv"]
    assert here.call("GET", f"/api/node/{child}/kv/key/k").body == b"also"
    assert here.call.json("GET", f"/api/node/{child}/hash")["hash"] == a.hash(child)
    with pytest.raises(DagdvidError):
        here.call("GET", f"/api/node/{child}/doomed/key/1")
    assert here.call.json("POST", "/api/store/fsck")["ok"]


@pytest.mark.parametrize("versioned", ["true", "false"])
@pytest.mark.parametrize("cloned", ["before", "after"])
def test_a_pull_brings_what_was_restored(a: Site, here: Here, cloned: str, versioned: str):
    """Here it never was, if the clone came after the deletion, or it has been collected."""
    root, child = twice(a, versioned)
    if cloned == "before":
        here.run(clone(here.catalog, a.url, root))
    a.json("DELETE", f"/api/repo/{root}/doomed", imsure="true")
    if cloned == "before":
        here.run(pull(here.catalog, here.repo(root), a.url, "origin"))
        assert here.collect() > 0
    else:
        here.run(clone(here.catalog, a.url, root))
    assert list(here.repo(root).instances) == ["kv"]
    a.json("POST", f"/api/repo/{root}/undelete", {"data": "doomed"})
    here.run(pull(here.catalog, here.repo(root), a.url, "origin"))
    for i in (1, 2):
        assert here.call("GET", f"/api/node/{child}/doomed/key/{i}").body == CONTENT[i]
    assert here.call.json("GET", f"/api/node/{root}/doomed/keys") == (["1"] if versioned == "true" else ["1", "2"])
    assert here.call.json("POST", "/api/store/fsck")["ok"]
    a.step(child, k=b"more")
    assert here.run(pull(here.catalog, here.repo(root), a.url, "origin"))["versions"] == 1  # only what is new


@pytest.mark.parametrize("versioned", ["true", "false"])
@pytest.mark.parametrize("cloned", ["before", "after"])
def test_a_push_brings_what_was_restored(a: Site, b: Site, here: Here, cloned: str, versioned: str):
    root, child = twice(a, versioned)
    here.run(clone(here.catalog, a.url, root))
    if cloned == "before":
        b.clone(f"{a.url}/{root}")
    data = here.repo(root).instances["doomed"].uuid
    here.delete(root, "doomed")
    here.run(push(here.catalog, here.repo(root), b.url))
    assert list(b.info(root)["DataInstances"]) == ["kv"]
    restore_instance(here.catalog, here.repo(root), data)
    here.run(push(here.catalog, here.repo(root), b.url))
    assert [b.get(child, f"{i}", "doomed") for i in (1, 2)] == [CONTENT[1], CONTENT[2]]
    assert b.keys(root, "doomed") == (["1"] if versioned == "true" else ["1", "2"])
    assert b.fsck()["ok"]
    later = here.call.json("POST", f"/api/node/{child}/newversion", {})["child"]
    here.call.json("POST", f"/api/node/{later}/commit", {"note": ""})
    assert here.run(push(here.catalog, here.repo(root), b.url))["versions"] == 1


CONTENT = {1: b"in the first version" * 100, 2: b"in the second" * 100}


def twice(site: Site, versioned: str) -> tuple[str, str]:
    """A repo with two committed versions, which each have a value in an instance `doomed`."""
    root = site.repo()
    site.instance(root, "doomed", versioned=versioned)
    site.put(root, "1", CONTENT[1], "doomed")
    site.commit(root)
    child = site.child(root)
    site.put(child, "2", CONTENT[2], "doomed")
    site.commit(child)
    return root, child
