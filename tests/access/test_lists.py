"""The files about users, and reading them again in all processes."""

from __future__ import annotations

import pytest

from dagdvid.access.lists import may, read_blocks, read_rights
from dagdvid.access.reloaded import Reloaded
from dagdvid.errors import BadRequest, Blocked
from dagdvid.sharedfolder import SharedFolder


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / "file"


def test_who_is_kept_out(file):
    file.write_text("u=bad,too many, really\nu=worse\n\nip=10.1.*.3,not you\nip=192.168\nip=2001:db8::1\n")
    blocks = read_blocks(file)
    for user, address, says in [
        ("bad", "1.1.1.1", 'User "bad" is blocked: too many, really'),
        ("worse", "", 'User "worse" is blocked: '),
        ("", "10.1.77.3", 'IP "10.1.77.3" is blocked: not you'),
        ("", "::ffff:10.1.77.3", "is blocked: not you"),
        ("", "192.168.5.6", "is blocked"),
        ("", "2001:db8::1", "is blocked"),
    ]:
        with pytest.raises(Blocked) as caught:
            blocks.check(user, address)
        assert says in str(caught.value)
    for address in ("10.1.77.4", "10.1", "110.1.1.3", "192.1.1.1", "", "2001:db8::2"):
        blocks.check("good", address)


@pytest.mark.parametrize("text", ["bad", "u=", "x=1", "u", "ip=,note"])
def test_no_lists(file, text):
    file.write_text(f"u=a\n{text}\n")
    with pytest.raises(BadRequest, match="line 2: write u=USER"):
        read_blocks(file)


def test_rights(file):
    file.write_text('{"ann": "read", "ed": "readwrite", "wu": "write"}')
    rights = read_rights(file)
    allowed = {user: (may(rights, user, reading=True), may(rights, user, reading=False)) for user in (*rights, "x")}
    assert allowed == {"ann": (True, False), "ed": (True, True), "wu": (False, True), "x": (False, False)}
    assert may({"*": "read"}, "x", reading=True)
    assert not may({"*": "readwrite", "x": "read"}, "x", reading=False)


@pytest.mark.parametrize("text", ["", "[]", '{"a": "all"}', '{"a": 1}', "\xff"])
def test_no_rights(file, text):
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadRequest):
        read_rights(file)


def test_all_processes_read_again_together(file, caplog):
    shared = SharedFolder(file)
    file.write_text("u=a")
    mine, theirs = (Reloaded(lambda: read_blocks(file), shared, "x") for _ in range(2))
    file.write_text("u=b")
    assert {*mine.now().users, *theirs.now().users} == {"a"}
    mine.reload()
    assert {*mine.now().users, *theirs.now().users} == {"b"}
    file.write_text("wrong")
    with pytest.raises(BadRequest):
        mine.reload()
    assert {*mine.now().users, *theirs.now().users} == {"b"}
    file.write_text("u=c")
    mine.reload()
    file.unlink()
    assert set(theirs.now().users) == {"b"}
    assert "kept as it was: cannot read" in caplog.text
