"""The configuration: DVID's TOML, words of the command line, and what is refused in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dagdvid.config import (
    DEFAULT_DATA,
    SETTINGS,
    Auth,
    Config,
    Limits,
    Logging,
    Tls,
    load,
    parse_address,
    problems,
)
from dagdvid.config.table import REFUSED, REFUSED_SECTIONS
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


EVERYTHING = """
    [server]
    httpAddress = "0.0.0.0:8123"
    host = "images.example.org"
    note = "for testing"
    corsDomains = ["https://a.example", "https://b.example"]
    rwmode = "readonly"
    min_mutation_id_start = 2000000000
    pidFile = "run/pid"
    blockListFile = "kept-out"
    allowTiming = true
    allowLabelmapSplit = true
    shutdownDelay = 7
    startWebhook = "http://monitor.example/started"
    startJaneliaConfig = "http://config.example/"
    webClient = "web"
    webRedirectPath = "/index.html"
    webDefaultFile = "index.html"
    workers = 3
    [auth]
    enforce = "authfile"
    enforce_internal = "dsg"
    no_enforce = true
    auth_file = "users.json"
    dsg_address = "https://auth.example"
    dsg_cache_ttl = 60
    trusted_proxies = ["10.1.0.0/16", "::1"]
    public_versions = ["0123456789abcdef0123456789abcdef"]
    dataset_map = {"0123456789abcdef0123456789abcdef" = "vnc"}
    [logging]
    logfile = "logs/server.log"
    max_log_size = 500
    max_log_age = 30
    format = "json"
    slow = 5
    [limits]
    requests = 10
    body = 1000
    body_memory = 100
    seconds = 20
    [tls]
    certificate = "server.pem"
    key = "server.key"
    [remotes]
    hosts = ["*.example.org", "other:8000"]
    [store.main]
    engine = "dagdvid"
    path = "data/here"
    durability = "relaxed"
    quota = 5000
    reserve = 64
    [backend.default]
    store = "main"
    [mutations]
    jsonstore = "mutations"
    blobstore = "main"
"""


def test_every_setting_is_honoured(tmp_path, monkeypatch):
    monkeypatch.setenv("DVID_ADMIN_TOKEN", "secret")
    monkeypatch.setenv("DVID_JWT_SECRET_KEY", "key")
    (tmp_path / "web").mkdir()
    for name in ("kept-out", "users.json", "server.pem", "server.key"):
        (tmp_path / name).touch()
    path = toml(tmp_path, EVERYTHING)
    here = tmp_path.resolve()
    uuid = "0123456789abcdef0123456789abcdef"
    config = load(path)
    assert config == Config(
        data=here / "data" / "here",
        host="0.0.0.0",
        port=8123,
        workers=3,
        readonly=True,
        admin_token="secret",
        jwt_secret="key",
        cors_domains=("https://a.example", "https://b.example"),
        note="for testing",
        hostname="images.example.org",
        durability="relaxed",
        quota=5000,
        reserve=64,
        mutation_start=2_000_000_000,
        toml_path=str(path.resolve()),
        toml_text=EVERYTHING,
        jsonstore=here / "mutations",
        grace=7,
        pid_file=here / "run" / "pid",
        allow_timing=True,
        labelmap_split=True,
        start_webhook="http://monitor.example/started",
        start_janelia_config="http://config.example/",
        web_client=here / "web",
        web_redirect_path="/index.html",
        web_default_file="index.html",
        remote_hosts=("*.example.org", "other:8000"),
        auth=Auth(
            enforce="authfile",
            enforce_internal="dsg",
            auth_file=here / "users.json",
            dsg_address="https://auth.example",
            dsg_cache_ttl=60,
            trusted_proxies=("10.1.0.0/16", "::1"),
            public_versions=(uuid,),
            dataset_map={uuid: "vnc"},
            block_file=here / "kept-out",
        ),
        logging=Logging(here / "logs" / "server.log", 500, 30, "json", 5),
        limits=Limits(10, 1000, 100, 20),
        tls=Tls(here / "server.pem", here / "server.key"),
    )
    assert all(setting.key in EVERYTHING for setting in SETTINGS)
    assert problems(path) == []
    shouted = toml(tmp_path, re.sub("(?m)^( *)([a-zA-Z]+) =", lambda m: f"{m[1]}{m[2].upper()} =", EVERYTHING))
    assert load(shouted).logging == config.logging
    assert "secret" not in repr(config)


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
        ("[zzz]", "known: server, auth, logging"),
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
        *[
            (f"[server]\nmin_mutation_id_start = {n}", "a whole number from 0 on, below 2")
            for n in (-1, 2**52, "true", "'1'")
        ],
        ("[store]\npath = 'x'", r"write \[store.main\] above 'path'"),
        ("[store.a]\npath = 'x'\n[store.b]\npath = 'y'", "name one store; there are 2: a, b"),
        ("[store.a]\nengine = 'badger'\npath = 'x'", "cannot open one of 'badger'"),
        ("[store.a]\npath = 1", r"path in \[store.a\] must be a string"),
        ("[store.a]\ndurability = 'some'", "must be full or relaxed, not"),
        *[(f"[{section}]\nx = 1", rf"remove the section \[{section}\]: .") for section in REFUSED_SECTIONS],
        *[
            (
                f"[{section}{'.a' * (section in ('store', 'backend'))}]\n{key} = 1",
                rf"remove {key} from \[{section}[.a]*\]: .",
            )
            for section, key in REFUSED
        ],
        ("[store.a]\nengine = 'filelog'", r"\[store.a\] is of engine 'filelog': remove the section"),
        ("[store.a]\npath = 'x'\n[backend.default]\nstore = 'b'", r"names the store 'b', which is not there"),
        ("[backend]\nstore = 'b'", r"write \[backend.default\] above 'store'"),
        ("[server]\nallowTiming = 'yes'", "must be true or false"),
        ("[server]\nworkers = 0", "a whole number from 1 on"),
        ("[server]\nwebClient = 'none'", "is no folder"),
        ("[server]\nblockListFile = 'none'", "cannot be read"),
        ("[server]\nstartWebhook = 'monitor'", "must be a URL"),
        ("[auth]\nenforce = 'some'", "must be none or token or authfile or dsg"),
        ("[auth]\nenforce = 'token'", "DVID_JWT_SECRET_KEY"),
        ("[auth]\nenforce = 'dsg'", "needs dsg_address"),
        ("[auth]\nenforce_internal = 'none'", "needs trusted_proxies"),
        ("[auth]\ntrusted_proxies = ['1.2.3']", "'1.2.3' is no network"),
        ("[auth]\ndataset_map = {a = 1}", "must be a table of strings"),
        ("[tls]\ncertificate = 'x'", "needs both"),
        ("[logging]\nformat = 'xml'", "must be text or json"),
    ],
)
def test_what_is_refused(tmp_path, monkeypatch, text, says):
    monkeypatch.delenv("DVID_JWT_SECRET_KEY", raising=False)
    with pytest.raises(BadRequest, match=says) as caught:
        load(toml(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "server.toml" in str(caught.value) or "address" in says


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    path = toml(tmp_path, "[server]\nrpcAddress = ':1'\nnot = 1\n[kafka]\n[store.a]\nengine = 'badger'\n[zzz]")
    assert len(problems(path)) == 5
    with pytest.raises(BadRequest, match=r"remove rpcAddress .* \(and 4 more: dagdvid config check .*server.toml\)"):
        load(path)


DVIDS = """
    [server]
    httpAddress = ":8000"
    [backend.default]
    store = "main"
    [backend."grayscale:99ef22cd85f143f58a623bd22aad0ef7"]
    store = "main"
    [store.main]
    path = "data"
    [store.log]
    engine = "filelog"
    path = "log"
"""


def test_stores_for_logs_are_not_counted(tmp_path):
    assert len(problems(toml(tmp_path, DVIDS))) == 1
    assert "filelog" in problems(toml(tmp_path, DVIDS))[0]


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


def test_a_proxy_brings_everybody():
    assert not Config(data=Path("x"), auth=Auth(trusted_proxies=("127.0.0.1/32",))).loopback_only
    assert not Config(data=Path("x"), auth=Auth(enforce="token")).loopback_only


def test_a_member_differs_in_nothing_else():
    config = Config(data=Path("x"), workers=4)
    assert not config.member
    assert config.as_member() == Config(data=Path("x"), workers=4, member=True)
