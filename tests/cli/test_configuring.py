"""`dagdvid config` and `dagdvid token`."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagdvid.access.tokens import user_of
from dagdvid.cli.configuring import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_page_in_the_tree_is_whole(run):
    assert PAGE.read_text("utf-8") == page(), "write it anew: dagdvid config keys > docs/configuration.md"
    assert run("config", "keys").stdout == page()


def test_what_is_wrong(tmp_path, run):
    file = tmp_path / "c.toml"
    file.write_text('[store.a]\nengine = "badger"\n[server]\nhttpAdress = ":1"')
    said = run("config", "check", file, status=1).stdout.splitlines()
    assert len(said) == 2
    assert all(line.startswith(f"{file}: ") for line in said)
    assert "name an empty folder as path" in said[0]
    assert "did you mean httpAddress?" in said[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "whoever is on this machine manages repos"),
        ('[server]\nhttpAddress = ":8000"', "nobody is asked who they are"),
        ('[auth]\nenforce = "token"', "those who show what 'token' asks for reads and writes"),
        ('[server]\nrwmode = "readonly"', "anybody reads;"),
    ],
)
def test_what_a_server_does(tmp_path, run, monkeypatch, text, says):
    monkeypatch.setenv("DVID_JWT_SECRET_KEY", "key")
    (tmp_path / "c.toml").write_text(text)
    assert says in run("config", "check", tmp_path / "c.toml").stdout


def test_tokens(run, monkeypatch):
    monkeypatch.setenv("DVID_JWT_SECRET_KEY", "key")
    assert user_of(run("token", "ann@example.org", "--days", "1").stdout.strip(), "key") == "ann@example.org"
    monkeypatch.delenv("DVID_JWT_SECRET_KEY")
    assert "DVID_JWT_SECRET_KEY" in run("token", "ann", status=1).stderr
