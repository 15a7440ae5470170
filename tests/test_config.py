"""The configuration: DVID's TOML, words of the command line, and what is refused in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagdvid.config import DEFAULT_DATA, DVID_KEYS, DVID_SECTIONS, SETTINGS, Config, load, parse_address
from dagdvid.errors import BadRequest


def toml(folder: Path, text: str) -> Path:
    path = folder / "server.toml"
    path.write_text(text)
    return path


def test_defaults(monkeypatch):
    monkeypatch.delenv("DVID_ADMIN_TOKEN", raising=False)
    config = load()
    assert config == Config(data=DEFAULT_DATA)
    assert (config.host, config.port, config.loopback_only, config.admin_token) == ("127.0.0.1", 8000, True, "")


def test_every_setting_is_honoured(tmp_path, monkeypatch):
    monkeypatch.setenv("DVID_ADMIN_TOKEN", "secret")
    text = """
        [server]
        httpAddress = "0.0.0.0:8123"
        host = "images.example.org"
        note = "for testing"
        corsDomains = ["https://a.example", "https://b.example"]
        rwmode = "readonly"
        min_mutation_id_start = 2000000000
        [store.main]
        engine = "dagdvid"
        path = "data/here"
        durability = "relaxed"
        [mutations]
        jsonstore = "logs"
        blobstore = "main"
    """
    path = toml(tmp_path, text)
    assert load(path) == Config(
        data=tmp_path.resolve() / "data" / "here",
        host="0.0.0.0",
        port=8123,
        readonly=True,
        admin_token="secret",
        cors_domains=("https://a.example", "https://b.example"),
        note="for testing",
        hostname="images.example.org",
        durability="relaxed",
        mutation_start=2_000_000_000,
        toml_path=str(path.resolve()),
        toml_text=text,
        jsonstore=tmp_path.resolve() / "logs",
    )
    assert all(setting.key in text for setting in SETTINGS)


def test_full_write_mode(tmp_path):
    full, plain = toml(tmp_path, '[server]\nrwmode = "fullwrite"'), None
    assert (load(full).fullwrite, load(full).readonly) == (True, False)
    assert (load(full, readonly=True).fullwrite, load(full, readonly=True).readonly) == (False, True)
    assert load(plain, fullwrite=True).fullwrite
    with pytest.raises(BadRequest, match="exclude each other"):
        load(plain, fullwrite=True, readonly=True)


def test_the_command_line_comes_first(tmp_path):
    path = toml(tmp_path, '[server]\nhttpAddress = ":1"\n[store.x]\npath = "a"\ndurability = "full"')
    config = load(
        path, data=Path("other"), http="[::1]:99", workers=3, readonly=True, access_log=False, durability="relaxed"
    )
    assert (config.data, config.host, config.port, config.workers) == (Path("other"), "::1", 99, 3)
    assert config.readonly
    assert config.relaxed
    assert not load(path).relaxed
    assert not config.access_log


def test_an_absolute_path_stays(tmp_path):
    path = toml(tmp_path, f'[store.x]\npath = "{tmp_path}/elsewhere"')
    assert load(path).data == (tmp_path / "elsewhere").resolve()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server", "is not TOML"),
        ("[sever]", "did you mean server?"),
        ("[zzz]", "known: server, mutations, store"),
        ("[mutations]\nhttpstore = 'kafka:x'", r"remove httpstore from \[mutations\]: the mutation log"),
        ("[mutations]\njsonstor = 'x'", "did you mean jsonstore?"),
        ("server = 1", r"must be a section, \[server\]"),
        ("[server]\nhttpaddres = ':1'", "did you mean httpAddress?"),
        ("[server]\nzzz = ':1'", "known: httpAddress, host"),
        ("[server]\nhttpAddress = 8000", "must be a string, not 8000"),
        ("[server]\nhttpAddress = 'here:there'", "not an address: 'here:there'"),
        ("[server]\ncorsDomains = '*'", "must be a list of strings"),
        ("[server]\ncorsDomains = [1]", "must be a list of strings"),
        ("[server]\nrwmode = 'rw'", "must be readonly or fullwrite, not 'rw'"),
        *[(f"[server]\nmin_mutation_id_start = {n}", "a whole number below 2") for n in (-1, 2**52, "true", "'1'")],
        ("[store]\npath = 'x'", r"write \[store.main\] above 'path'"),
        ("[store.a]\npath = 'x'\n[store.b]\npath = 'y'", "name one store; there are 2: a, b"),
        ("[store.a]\nengine = 'badger'\npath = 'x'", "cannot open one of 'badger'"),
        ("[store.a]\npath = 1", r"path in \[store.a\] must be a string"),
        ("[store.a]\ndurability = 'some'", "must be full or relaxed, not"),
        *[(f"[{section}]\nx = 1", rf"remove the section \[{section}\]") for section in DVID_SECTIONS],
        *[(f"[server]\n{key} = 1", f"remove {key} from") for key in DVID_KEYS["server"]],
        *[(f"[store.a]\n{key} = 1", rf"remove {key} from \[store.a\]") for key in DVID_KEYS["store"]],
    ],
)
def test_what_is_refused(tmp_path, text, says):
    with pytest.raises(BadRequest, match=says) as caught:
        load(toml(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "server.toml" in str(caught.value) or "address" in says


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(BadRequest, match=r"cannot read .*none\.toml: No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(BadRequest, match="not UTF-8"):
        load(tmp_path / "latin.toml")


def test_workers_are_counted_from_one():
    with pytest.raises(BadRequest, match="--workers must be at least 1, not 0"):
        load(workers=0)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8000", "127.0.0.1", 8000),
        ("localhost:0", "localhost", 0),
        (":8000", "", 8000),
        ("[::1]:65535", "::1", 65535),
        ("[::1]", "::1", 8000),
        ("images", "images", 8000),
    ],
)
def test_addresses(text, host, port):
    assert parse_address(text) == (host, port)


@pytest.mark.parametrize("text", ["a:b", "a:", "a:65536", "a:-1", "::1:80", "a:\u0661"])
def test_no_addresses(text):
    with pytest.raises(BadRequest, match="not an address"):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "only"),
    [
        *[("localhost", True), ("LOCALHOST", True), ("127.0.0.1", True), ("127.8.9.10", True), ("::1", True)],
        *[("", False), ("0.0.0.0", False), ("::", False), ("192.168.0.1", False), ("localhost.example", False)],
    ],
)
def test_loopback_only(host, only):
    assert Config(data=Path("x"), host=host).loopback_only is only


def test_a_member_differs_in_nothing_else():
    config = Config(data=Path("x"), workers=4)
    assert not config.member
    assert config.as_member() == Config(data=Path("x"), workers=4, member=True)
