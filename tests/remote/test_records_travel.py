"""What was done to a repo after its commits - renamed, deleted, hidden, made master - travels with its record."""

from __future__ import annotations

import pytest
from sites import Site, same


@pytest.fixture
def root(a: Site, b: Site) -> str:
    """A repo that both have, each with the other as a remote called other."""
    root = a.repo("shared")
    a.instance(root, "flat", versioned="false")
    a.put(root, "k", b"0")
    a.put(root, "k", b"flat", "flat")
    a.commit(root)
    b.clone(f"{a.url}/{root}")
    a.remote(root, b)
    b.remote(root, a)
    return root


def words(site: Site, *text: str) -> str:
    answer = site.ask("POST", "/api/server/command", {"words": list(text)})
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize("name", ["kv", "flat"])
@pytest.mark.parametrize("how", ["pull", "push"])
def test_a_deletion_reaches_the_other_side(a: Site, b: Site, root: str, name: str, how: str):
    words(a, "repo", root, "delete", name)
    if how == "pull":
        b.pull(root)
    else:
        a.push(root)
    assert name not in b.info(root)["DataInstances"]
    assert b.ask("GET", f"/api/node/{root}/{name}/key/k").status_code == 400
    same(a, b, root)
    tip = b.step(root)
    a.pull(root)
    assert tip in a.nodes(root)


@pytest.mark.parametrize("name", ["kv", "flat"])
def test_a_deletion_prevails_over_what_the_other_side_changed(a: Site, b: Site, root: str, name: str):
    words(a, "repo", root, "delete", name)
    words(b, "repo", root, "rename", name, "renamed")
    tip = b.child(root)
    b.put(tip, "k", b"new", "renamed")
    b.commit(tip)
    a.pull(root)
    assert name not in a.info(root)["DataInstances"]
    assert "renamed" not in a.info(root)["DataInstances"]
    b.pull(root)
    assert "renamed" not in b.info(root)["DataInstances"]
    same(a, b, root)
    child = b.step(tip)
    a.pull(root)
    same(a, b, root)
    assert child in a.nodes(root)


def test_names_of_instances_deleted_and_made_again(a: Site, b: Site, root: str):
    a.child(root)
    words(a, "repo", root, "delete", "kv")
    tip = next(u for u, n in a.nodes(root).items() if not n["Locked"])
    a.instance(tip, "kv")
    a.put(tip, "fresh", b"x")
    a.commit(tip)
    b.pull(root)
    assert b.keys(tip) == ["fresh"]
    assert b.keys(root) == []


def test_branches_that_changed_places_and_hidden_ones(a: Site, b: Site, root: str):
    main, side, deep = a.step(root, k=b"main"), a.step(root, "side", k=b"side"), a.step(root, "deep", k=b"deep")
    b.pull(root)
    words(a, "repo", side, "make-master", "was")
    words(a, "repo", root, "hide-branch", "deep")
    b.pull(root)
    expected = {root: "", main: "was", side: ""}
    assert a.branches(root) == b.branches(root) == expected
    assert b.get(f"{root}:master", "k") == b"side"
    assert b.ask("GET", f"/api/node/{deep}/status").status_code == 400
    tip = b.step(side, k=b"on")
    a.pull(root)
    assert a.branches(root)[tip] == ""
    same(a, b, root)


def test_a_clone_of_it_all(a: Site, b: Site, c: Site, root: str):
    main, side = a.step(root, k=b"main"), a.step(root, "side", k=b"side")
    words(a, "repo", side, "make-master", "was")
    words(a, "repo", root, "rename", "kv", "values")
    words(a, "repo", root, "delete", "flat")
    c.clone(f"{a.url}/{root}")
    assert c.branches(root) == {root: "", main: "was", side: ""}
    assert set(c.info(root)["DataInstances"]) == {"values"}
    assert c.get(main, "k", "values") == b"main"
