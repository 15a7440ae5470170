"""Both sides go on: pushes are refused, pulls land beside, records merge field by field, and all stays consistent."""

from __future__ import annotations

import threading

import pytest
from sites import Site, same


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


def refused(site: Site, root: str) -> str:
    answer = site.ask("POST", f"/api/repo/{root}/push", {"remote": "other"})
    assert answer.status_code == 409, answer.text
    return answer.text


def test_a_diverged_push_changes_nothing(a: Site, b: Site, root: str):
    one, two = a.step(root, k=b"a"), b.step(root, k=b"b")
    before = (a.info(root), b.info(root))
    assert two in refused(a, root)
    assert one in refused(b, root)
    assert (a.info(root), b.info(root)) == before
    assert b.get(two, "k") == b"b"
    assert b.ask("GET", f"/api/node/{one}/kv/key/k").status_code == 400


def test_an_open_child_here_counts_as_going_on(a: Site, b: Site, root: str):
    a.step(root, k=b"a")
    b.child(root)
    assert "neither after the other" in refused(a, root)
    assert b.pull(root)["renamed_branches"] == {"master": "master@other"}
    assert b.json("GET", f"/api/node/{root}:master/status") == {"Locked": False}


def test_a_diverged_pull_lands_beside_and_goes_on(a: Site, b: Site, root: str):
    one, two = a.step(root, k=b"a1"), b.step(root, k=b"b1")
    assert a.pull(root)["renamed_branches"] == {"master": "master@other"}
    assert b.pull(root)["renamed_branches"] == {"master": "master@other"}
    assert a.branches(root) == {root: "", one: "", two: "master@other"}
    assert b.branches(root) == {root: "", two: "", one: "master@other"}
    for _ in range(3):
        one, two = a.step(one, k=b"a"), b.step(two, k=b"b")
        assert a.pull(root)["versions"] == 1
        assert b.pull(root)["versions"] == 1
        assert (a.branches(root)[one], a.branches(root)[two]) == ("", "master@other")
        assert (b.branches(root)[two], b.branches(root)[one]) == ("", "master@other")
    same(a, b, root)
    for site, leaf in ((a, one), (b, two)):
        assert site.json("GET", f"/api/repo/{root}/branch-versions/master")[0] == leaf
        assert site.pull(root)["versions"] == 0
        assert site.get(f"{root}:master", "k") == site.get(leaf, "k")


def merged(site: Site, root: str, *parents: str) -> str:
    """A committed merge."""
    body = {"mergeType": "conflict-free", "parents": list(parents), "note": "both"}
    child = site.json("POST", f"/api/repo/{root}/merge", body)["child"]
    site.commit(child)
    return child


def test_the_branch_of_a_remote_stands_in_every_path(a: Site, b: Site, root: str):
    one, two = a.step(root, k=b"a1"), b.step(root, j=b"b1")
    a.pull(root)
    assert a.get(f"{root}:master@other", "j") == b"b1"
    assert a.get(f"{root}:master@other~1", "k") == b"0"
    assert a.json("GET", f"/api/repo/{root}/branch-versions/master@other") == [two, root]
    assert a.json("GET", f"/api/node/{root}:master/diff/{root}:master@other")["instances"]
    assert a.get(f"{root}:master", "k") == a.get(one, "k") == b"a1"


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("verb", ["push", "pull"])
def test_a_merge_of_both_goes_on_with_the_branch(a: Site, b: Site, root: str, verb: str, turned: bool):
    """What a merged, b had: for b it is a step forward, and a's part of it lands beside."""
    start = a.step(root, k=b"a1")
    one = a.step(start, i=b"a2")
    two = b.step(root, j=b"b1")
    a.pull(root)
    both = merged(a, root, *((two, one) if turned else (one, two)))
    last = a.step(both, k=b"after")
    if verb == "push":
        a.push(root)
    else:
        b.pull(root)
    branches = b.branches(root)
    assert [branches[uuid] for uuid in (root, two, both, last)] == ["", "", "", ""]
    beside = f"master@{start[:7]}" if verb == "push" else "master@other"
    assert branches[start] == branches[one] == beside
    assert b.get(f"{root}:master", "k") == b"after"
    assert b.get(f"{root}:master~1", "j") == b"b1"
    assert b.get(f"{root}:{beside}", "i") == b"a2"
    same(a, b, root)
    new = b.step(last, k=b"b goes on")
    assert a.pull(root)["versions"] == 1
    assert a.branches(root)[new] == ""
    assert b.push(root)["objects"] == 0


def test_a_merge_that_lacks_the_last_version_is_no_step_forward(a: Site, b: Site, root: str):
    one, two = a.step(root, k=b"a1"), b.step(root, j=b"b1")
    a.pull(root)
    merged(a, root, one, two)
    three = b.step(two, j=b"b2")
    assert two in refused(a, root)
    b.child(three)
    a.pull(root)
    merged(a, root, f"{root}:master", f"{root}:master@other")
    assert "neither after the other" in refused(a, root)


def test_going_on_where_the_other_landed(a: Site, b: Site, root: str):
    a.step(root, k=b"a1")
    two = b.step(root, k=b"b1")
    a.pull(root)
    mine = a.step(two, k=b"a, after b1")
    theirs = b.step(two, k=b"b, after b1")
    a.pull(root)
    branches = a.branches(root)
    assert branches[mine] == "master@other"
    assert branches[theirs] == "master@other@other"
    last = b.step(theirs, k=b"b again")
    a.pull(root)
    assert a.branches(root)[last] == "master@other@other"


def test_a_clone_has_the_branches_of_its_source(a: Site, b: Site, c: Site, root: str):
    a.step(root, k=b"a1")
    two = b.step(root, k=b"b1")
    a.pull(root)
    c.clone(f"{a.url}/{root}")
    assert c.branches(root) == a.branches(root)
    three = b.step(two, k=b"b2")
    a.pull(root)
    c.pull(root, "origin")
    assert c.branches(root) == a.branches(root)
    assert c.get(three, "k") == b"b2"


def test_branches_of_one_name_from_different_places(a: Site, b: Site, root: str):
    next_one = a.step(root, k=b"1")
    b.pull(root)
    mine = a.step(root, "x", k=b"a")
    theirs = b.step(next_one, "x", k=b"b")
    assert "neither after the other" in refused(a, root)
    assert a.pull(root)["renamed_branches"] == {"x": "x@other"}
    assert (a.branches(root)[mine], a.branches(root)[theirs]) == ("x", "x@other")
    further = b.step(theirs, k=b"b")
    a.pull(root)
    assert a.branches(root)[further] == "x@other"


def test_records_that_both_changed(a: Site, b: Site, root: str):
    for site, name in ((a, "alias of a"), (b, "alias of b")):
        site.json("POST", f"/api/repo/{root}/info", {"alias": name})
        site.json("POST", f"/api/repo/{root}/log", {"log": [f"line of {name[-1]}"]})
    b.json("POST", f"/api/repo/{root}/info", {"description": "of b alone"})
    assert "pull first" in refused(a, root)
    assert a.pull(root)["kept_here"] == ["alias"]
    info = a.info(root)
    assert (info["Alias"], info["Description"]) == ("alias of a", "of b alone")
    assert sorted(line.split("  ")[1] for line in info["Log"] if "line of" in line) == ["line of a", "line of b"]
    assert a.push(root)["objects"] == 3  # two changes on a, and the merge
    assert b.info(root)["Alias"] == "alias of a"
    assert b.info(root)["Log"] == info["Log"]
    assert a.pull(root)["objects"] == b.pull(root)["objects"] == 0


def test_records_merged_again_and_again(a: Site, b: Site, root: str):
    for i in range(15):
        a.json("POST", f"/api/repo/{root}/log", {"log": [f"a{i}"]})
        b.json("POST", f"/api/repo/{root}/log", {"log": [f"b{i}"]})
        a.pull(root)
        b.pull(root)
    assert a.info(root)["Log"] == b.info(root)["Log"]
    assert len(a.info(root)["Log"]) == 31  # the first says that kv was made


def test_instances_of_one_name_made_on_both_sides(a: Site, b: Site, root: str):
    for site, value in ((a, b"of a"), (b, b"of b")):
        child = site.child(root, f"branch-{value[-1:].decode()}")
        site.instance(child, "twin")
        site.put(child, "k", value, "twin")
        site.commit(child)
    assert list(a.pull(root)["renamed_instances"].values()) == ["twin_other"]
    mine, theirs = (a.json("GET", f"/api/repo/{root}/branch-versions/branch-{x}")[0] for x in "ab")
    assert a.get(mine, "k", "twin") == b"of a"
    assert a.get(theirs, "k", "twin_other") == b"of b"
    assert a.get(theirs, "k", "twin") is None
    a.push(root)
    assert b.get(theirs, "k", "twin_other") == b"of b"
    assert b.get(mine, "k", "twin") == b"of a"
    same(a, b, root)


def test_twins_with_a_name_too_long_for_a_leaf(a: Site, b: Site, root: str):
    name = "n" * 900
    for site in (a, b):
        site.instance(site.child(root, f"x{site.url[-3:]}"), name)
    assert list(a.pull(root)["renamed_instances"].values()) == [f"{name}_other"]
    assert sorted(a.info(root)["DataInstances"]) == ["kv", name, f"{name}_other"]


def test_two_pushes_at_once(a: Site, b: Site, c: Site, root: str):
    c.clone(f"{a.url}/{root}")
    b.remote(root, c, "goal")
    a.remote(root, c, "goal")
    tips = {}
    for turn in range(5):
        at = tips.get(turn - 1, root)
        tips_now = {site.url: site.step(at, f"t{turn}", k=site.url.encode() * 100) for site in (a, b)}
        start = threading.Barrier(2)
        statuses = {}

        def run(site: Site, start=start, statuses=statuses) -> None:
            start.wait()
            statuses[site.url] = site.ask("POST", f"/api/repo/{root}/push", {"remote": "goal"}).status_code

        threads = [threading.Thread(target=run, args=(site,)) for site in (a, b)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses.values()) == [200, 409]
        winner = next(url for url, status in statuses.items() if status == 200)
        assert set(tips_now.values()) & set(c.nodes(root)) == {tips_now[winner]}
        assert c.get(tips_now[winner], "k") == winner.encode() * 100
        loser = a if winner == b.url else b
        loser.pull(root, "goal")
        (b if loser is a else a).pull(root, "other")
        tips[turn] = root


def test_a_version_bound_to_two_commits(a: Site, b: Site, root: str):
    uuid = "0" * 20 + root[:12]
    for site in (a, b):
        site.json("POST", f"/api/node/{root}/newversion", {"uuid": uuid})
        site.put(uuid, "k", site.url.encode())
    hashes = [site.commit(uuid) for site in (a, b)]
    text = refused(a, root)
    assert hashes[0] in text
    assert hashes[1] in text
    assert a.ask("POST", f"/api/repo/{root}/pull", {"remote": "other"}).status_code == 409
    assert [site.get(uuid, "k") for site in (a, b)] == [site.url.encode() for site in (a, b)]


def test_the_same_version_open_on_both_sides(a: Site, b: Site, root: str):
    uuid = "1" * 20 + root[:12]
    for site in (a, b):
        site.json("POST", f"/api/node/{root}/newversion", {"uuid": uuid})
    a.commit(uuid)
    assert "open here" in refused(a, root)
    assert b.ask("POST", f"/api/repo/{root}/pull", {"remote": "other"}).status_code == 409
    b.put(uuid, "k", b"still open")
