"""Amended versions travel where the other side allows it, and nowhere else."""

from __future__ import annotations

import pytest
from sites import Process, Site, same

TOKEN = "token of tests"
ADMIN = {"admintoken": TOKEN}


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("amended")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVID_ADMIN_TOKEN", TOKEN)
        processes = [Process(folder / name) for name in "xy"]
    sites = [Site(process.url) for process in processes]
    yield sites
    assert all(site.fsck()["ok"] for site in sites)
    for site, process in zip(sites, processes, strict=True):
        site.close()
        process.stop()


@pytest.fixture
def x(servers) -> Site:
    return servers[0]


@pytest.fixture
def y(servers) -> Site:
    return servers[1]


@pytest.fixture
def line(x: Site, y: Site) -> list[str]:
    """Two committed versions that both have, of which y knows x by two names, with the token and without."""
    root = x.repo()
    x.put(root, "k", b"0")
    x.put(root, "j", b"0")
    x.commit(root)
    one = x.step(root, j=b"1")
    y.clone(f"{x.url}/{root}")
    for site, other in ((x, y), (y, x)):
        site.remote(root, other)
        site.remote(root, f"{other.url}?admintoken={TOKEN.replace(' ', '+')}", "admin")
    return [root, one]


def amend(site: Site, uuid: str, key: str, value: bytes) -> str:
    site.json("POST", f"/api/node/{uuid}/kv/key/{key}", value, **ADMIN)
    return site.hash(uuid)


def refusal(site: Site, verb: str, root: str) -> str:
    answer = site.ask("POST", f"/api/repo/{root}/{verb}", {"remote": "other"})
    assert answer.status_code == 409, answer.text
    return answer.text


def test_it_is_taken_by_who_allows_it(x: Site, y: Site, line: list[str]):
    root, one = line
    before, after = x.hash(root), amend(x, root, "k", b"amended")
    for site, verb in ((x, "push"), (y, "pull")):
        text = refusal(site, verb, root)
        assert before in text
        assert after in text
        assert y.get(one, "k") == b"0"
    x.push(root, "admin")
    assert (y.get(root, "k"), y.get(one, "k"), y.get(one, "j")) == (b"amended", b"amended", b"1")
    same(x, y, root)
    assert any("Amended" in entry for entry in y.info(root)["Log"])
    y.step(one, k=b"2")
    y.push(root)
    same(x, y, root)


def test_it_is_pulled_by_an_admin(x: Site, y: Site, line: list[str]):
    root, one = line
    amend(x, root, "k", b"once")
    amend(x, root, "k", b"twice")
    mine = y.child(one)
    y.put(mine, "l", b"open")
    result = y.json("POST", f"/api/repo/{root}/pull", {"remote": "other"}, **ADMIN)
    assert sorted(result["amended"]) == sorted(line)
    assert (y.get(mine, "k"), y.get(mine, "l")) == (b"twice", b"open")  # what is open sees it, too
    same(x, y, root)
    assert y.pull(root)["objects"] == 0


def test_who_has_it_as_it_was_is_not_in_the_way(x: Site, y: Site, line: list[str]):
    root, one = line
    amend(x, one, "k", b"amended")
    y.json("POST", f"/api/repo/{root}/log", {"log": ["of y"]})
    assert x.pull(root)["versions"] == 0  # theirs is older
    assert any("of y" in entry for entry in x.info(root)["Log"])
    y.push(root)
    assert x.get(one, "k") == b"amended"
    new = y.step(one, k=b"on the old one")
    assert one in refusal(x, "pull", root) or new in refusal(x, "pull", root)
    assert "amended here since" in refusal(y, "push", root)
    text = y.ask("POST", f"/api/repo/{root}/pull", {"remote": "other"}, **ADMIN).text
    assert f"{new} stands on it here" in text
    assert (x.get(one, "k"), y.get(new, "k")) == (b"amended", b"on the old one")


def test_both_amended_it(x: Site, y: Site, line: list[str]):
    root, one = line
    hashes = [amend(site, one, "k", site.url.encode()) for site in (x, y)]
    for site in (x, y):
        answer = site.ask("POST", f"/api/repo/{root}/pull", {"remote": "other"}, **ADMIN)
        assert answer.status_code == 409
        assert all(name in answer.text for name in hashes)
    assert x.pull(root, without=[one])["versions"] == 0


def test_a_fresh_clone_has_it_as_it_is(x: Site, y: Site):
    root = x.repo()
    x.put(root, "k", b"0")
    x.commit(root)
    one = x.step(root, j=b"1")
    amend(x, root, "k", b"amended")
    y.clone(f"{x.url}/{root}")
    assert y.get(one, "k") == b"amended"
    same(x, y, root)
