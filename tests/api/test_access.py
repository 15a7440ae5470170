"""Who may do what, on every way to a route. Statuses and texts of refusals are those that DVID at head gives."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import httpx
import pytest
from gateway import TestGateway
from test_lanes import LANES, fill, served

from dagdvid.access.tokens import sign
from dagdvid.config import Auth, Config
from dagdvid.errors import BadRequest
from dagdvid.routes import Request
from dagdvid.server import Server


@pytest.fixture(scope="module")
def gateway():
    gateway = TestGateway()
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder with a repo of two versions, and another repo; (folder, root, child, other root)."""
    folder = tmp_path_factory.mktemp("access") / "data"
    locked, opened = fill(folder)
    server = Server.open(Config(data=folder))
    found = server.find("POST", "/api/repos")
    other = json.loads(server.handle(found, Request("POST", "/api/repos", local=True, body=b"{}")).body)["root"]
    server.close()
    return folder, locked.split("/")[3], opened.split("/")[3], other


class Site:
    def __init__(self, client, root, child, other):
        self.client = client
        self.names = {"ROOT": root, "CHILD": child, "OTHER": other}

    async def __call__(self, method, path, token="", **headers):
        for name, uuid in self.names.items():
            path = path.replace(name, uuid)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        answer = await self.client.request(method, path, headers=headers, content=b"x" if method == "POST" else None)
        text = answer.text
        for name, uuid in self.names.items():
            text = text.replace(uuid, name)
        return answer.status_code, text


FEW = ["connection", "hypercorn"]
"""For what all lanes find out at the same place, as other tests show."""


@pytest.fixture(params=LANES)
def site(request, stored):
    """Makes a site with a configuration, as a context manager, served in one of the ways."""
    folder, *uuids = stored

    class Running:
        def __init__(self, **settings):
            names = dict(zip(("ROOT", "CHILD", "OTHER"), uuids, strict=True))
            public = tuple(names[name] for name in settings.pop("public", ()))
            datasets = {names[name]: to for name, to in settings.pop("datasets", {}).items()}
            self.cors = settings.pop("cors", ())
            self.auth = Auth(public_versions=public, dataset_map=datasets, **settings)

        async def __aenter__(self):
            config = Config(data=folder, admin_token="adm", jwt_secret="key", auth=self.auth, cors_domains=self.cors)
            self.server = Server.open(config)
            self.serving = served(self.server, request.param)
            port = await self.serving.__aenter__()
            self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}")
            return Site(self.client, *uuids)

        async def __aexit__(self, *error):
            await self.client.aclose()
            await self.serving.__aexit__(*error)
            self.server.close()

    return Running


OPEN = "/api/node/CHILD/kv/key/staged"
LOCKED = "/api/node/ROOT/kv/key/one"
NEEDED = "JWT required via Authorization in request header"


async def test_tokens(site):
    good = sign("ann", "key")
    async with site(enforce="token", public=["ROOT"]) as ask:
        for method, path in [
            ("GET", OPEN),
            ("POST", OPEN),
            ("POST", LOCKED),
            ("GET", "/api/node/CHILD/none/key/k"),
            ("GET", "/api/repo/CHILD/info"),
            ("GET", "/api/repo/OTHER/info"),
            ("GET", "/api/node/OTHER/note"),
        ]:
            shown = path.split("?")[0]
            assert await ask(method, path) == (400, f"{NEEDED} ({shown}).\n"), path
            status, text = await ask(method, path, sign("ann", "other"))
            assert (status, text) == (400, f"error parsing JWT: signature is invalid ({shown}).\n")
        assert (await ask("HEAD", OPEN))[0] == 400
        assert (await ask("GET", LOCKED)) == (200, "1")
        assert (await ask("GET", LOCKED, "junk")) == (200, "1")
        assert (await ask("GET", "/api/node/none/kv/key/k"))[1].startswith("could not find UUID")
        assert await ask("GET", OPEN, good) == (200, "staged")
        assert (await ask("POST", OPEN + "2", good))[0] == 200
        assert (await ask("POST", LOCKED, good))[1].startswith("Cannot do POST")
        assert (await ask("GET", OPEN, Authorization="Basic abc"))[0] == 400
        assert await ask("GET", OPEN, Authorization=f"bearer {good}") == (200, "staged")
        # The admin token is enough (DVID wants a token beside it).
        assert await ask("GET", OPEN + "?admintoken=adm") == (200, "staged")
        assert (await ask("GET", OPEN + "?admintoken=admi"))[0] == 400


@pytest.mark.parametrize("site", FEW, indirect=True)
async def test_a_token_that_ends(site):
    async with site(enforce="token") as ask:
        token = sign("ann", "key", 1.5)
        assert (await ask("GET", OPEN, token))[0] == 200
        await asyncio.sleep(max(0.0, 2.1 - time.time() % 1))
        assert (await ask("GET", OPEN, token))[1].startswith("error parsing JWT: Token is expired")


async def test_what_strangers_see(site):
    async with site(enforce="token", public=["ROOT"]) as ask:
        repos = json.loads((await ask("GET", "/api/repos/info"))[1])
        assert set(repos) == {"ROOT"}
        assert set(repos["ROOT"]["DAG"]["Nodes"]) == {"ROOT"}
        assert repos["ROOT"]["DAG"]["Nodes"]["ROOT"]["Children"] == []
        assert repos["ROOT"]["Log"] == []
        assert json.loads((await ask("GET", "/api/repo/ROOT/info"))[1]) == repos["ROOT"]
        every = json.loads((await ask("GET", "/api/repos/info", sign("ann", "key")))[1])
        assert set(every) == {"ROOT", "OTHER"}
        assert set(every["ROOT"]["DAG"]["Nodes"]) == {"ROOT", "CHILD"}
        for path in ("/api/server/info", "/api/heartbeat", "/api/load", "/api/help", "/api/node/ROOT/note"):
            assert (await ask("GET", path))[0] == 200, path
        for method, path in [
            ("GET", "/api/node/ROOT/diff/CHILD"),
            ("GET", "/api/node/ROOT/kv/diff/CHILD"),
            ("GET", "/api/node/ROOT/kv/mutations-range/ROOT/CHILD"),
            ("GET", "/api/node/ROOT/kv/key-history/one"),
            ("GET", "/api/repo/ROOT/log"),
            ("GET", "/api/repo/ROOT/reflog"),
            ("GET", "/api/repo/ROOT/branch-versions/master"),
            ("GET", "/api/repos/reflog"),
            ("GET", "/api/store/stats"),
            ("POST", "/api/store/fsck"),
            ("POST", "/api/sync/negotiate"),
            ("POST", "/api/sync/fetch-objects"),
            ("GET", "/api/server/command"),
        ]:
            assert (await ask(method, path))[0] == 401, path
        for method, path in [("POST", "/api/repos"), ("POST", "/api/sync/have"), ("GET", "/api/server/config")]:
            assert "requires admin privileges" in (await ask(method, path))[1], path
            assert "requires admin privileges" in (await ask(method, path, sign("ann", "key")))[1], path
        assert (await ask("GET", "/api/node/ROOT/diff/CHILD", sign("ann", "key")))[0] == 200


@pytest.mark.parametrize("site", FEW, indirect=True)
async def test_listed_users(site, tmp_path):
    file = tmp_path / "users"
    file.write_text('{"ann": "read", "ed": "readwrite", "wu": "write"}')
    async with site(enforce="authfile", auth_file=file) as ask:
        for user, reads, writes in [("ann", 200, 400), ("ed", 200, 200), ("wu", 400, 200), ("who", 400, 400)]:
            said = [await ask(method, OPEN, sign(user, "key")) for method in ("GET", "POST")]
            assert [status for status, _ in said] == [reads, writes], user
            for status, text in said:
                assert status == 200 or text.startswith(f'user "{user}" is not authorized (')
        file.write_text('{"*": "read"}')
        assert (await ask("GET", OPEN, sign("who", "key")))[0] == 400
        assert (await ask("POST", "/api/server/reload-auth"))[0] == 400
        status, text = await ask("POST", "/api/server/reload-auth?admintoken=adm")
        assert (status, text) == (200, f'Reloaded authorizations from file "{file}".\n')
        assert (await ask("GET", OPEN, sign("who", "key")))[0] == 200
        file.write_text("wrong")
        assert (await ask("POST", "/api/server/reload-auth?admintoken=adm"))[0] == 400
        assert (await ask("GET", OPEN, sign("who", "key")))[0] == 200


VIEW, EDIT, MANAGER, NOBODY = [200, 403, 403], [200, 200, 403], [200, 200, 200], [401, 401, 401]


async def test_dataset_gateway(site, gateway):
    async with site(enforce="dsg", dsg_address=gateway.url, public=["ROOT"], datasets={"ROOT": "vnc"}) as ask:
        wanted = {"ann": VIEW, "ed": EDIT, "da": EDIT, "root": MANAGER, "nobody": NOBODY, "": NOBODY}
        for token, statuses in wanted.items():
            paths = [("GET", OPEN), ("POST", OPEN), ("GET", "/api/node/OTHER/note")]
            said = [await ask(method, path, token) for method, path in paths]
            assert [status for status, _ in said] == statuses, token
        path = OPEN
        needed = "dsg token required via Authorization header or dsg_token cookie"
        assert await ask("GET", path) == (401, f"{needed} ({path}).\n")
        assert await ask("GET", path, "nobody") == (401, f"invalid DSG token ({path}).\n")
        less = 'user "ann@x" does not have sufficient access to dataset "vnc"'
        assert await ask("POST", path, "ann") == (403, f"{less} ({path}).\n")
        unmapped = "no DSG dataset mapping configured for root UUID OTHER (/api/node/OTHER/note).\n"
        assert await ask("GET", "/api/node/OTHER/note", "ann") == (403, unmapped)
        assert await ask("GET", path, "boom") == (502, f"unexpected DSG auth response (500): oops ({path}).\n")
        assert (await ask("GET", path, "odd"))[0] == 502
        assert (await ask("GET", path, Cookie="a=b; dsg_token=ann"))[0] == 200
        assert (await ask("GET", LOCKED, "boom")) == (200, "1")
        assert set(json.loads((await ask("GET", "/api/repos/info", "ann"))[1])) == {"ROOT"}
        assert set(json.loads((await ask("GET", "/api/repos/info", "root"))[1])) == {"ROOT", "OTHER"}
        assert (await ask("GET", "/api/node/ROOT/diff/CHILD", "ann"))[0] == 200
        assert (await ask("GET", "/api/store/stats", "ann"))[0] == 401
        assert (await ask("GET", "/api/server/config", "ann"))[0] == 400
        assert (await ask("GET", "/api/server/config", "root"))[0] == 200
        assert "DSG tokens directly" in (await ask("GET", "/api/server/token"))[1]
        asked = gateway.asked.count("ann")
        assert (await ask("GET", path, "ann"))[0] == 200
        assert gateway.asked.count("ann") == asked
        await ask("POST", "/api/server/reload-auth", "root")
        assert (await ask("GET", path, "ann"))[0] == 200
        assert gateway.asked.count("ann") == asked + 1


@pytest.mark.parametrize("site", FEW, indirect=True)
async def test_a_gateway_that_is_away(site):
    async with site(enforce="dsg", dsg_address="http://127.0.0.1:1", datasets={"ROOT": "vnc"}) as ask:
        status, text = await ask("GET", OPEN, "ann")
        assert status == 502
        assert text.startswith("unable to contact DSG auth service: ")


@pytest.mark.parametrize("site", FEW, indirect=True)
async def test_from_within(site):
    inside = {"X-DVID-Internal": "true"}
    settings = {"enforce": "token", "enforce_internal": "none"}
    async with site(**settings, trusted_proxies=("127.0.0.0/8",)) as ask:
        assert (await ask("GET", OPEN, **inside))[0] == 200
        assert (await ask("GET", OPEN, **{"X-DVID-Internal": ""}))[0] == 400
    async with site(**settings, trusted_proxies=("10.0.0.0/8",)) as ask:
        assert (await ask("GET", OPEN, **inside))[0] == 400  # a forged header


async def test_who_is_kept_out(site, tmp_path):
    file = tmp_path / "blocked"
    file.write_text("u=bad,too many\nip=9.9.*,not you")
    proxied = {"X-Forwarded-For": "9.9.1.1"}
    async with site(block_file=file, trusted_proxies=("127.0.0.1",)) as ask:
        for path in (OPEN, "/api/repos/info", "/api/nosuch", "/nosuch", "/api/help"):
            assert await ask("GET", f"{path}?u=bad") == (429, 'User "bad" is blocked: too many\n'), path
            assert await ask("GET", path, **proxied) == (429, 'IP "9.9.1.1" is blocked: not you\n'), path
        for path in ("/api/heartbeat?u=bad", "/api/load?u=bad", OPEN + "?u=good", OPEN):
            assert (await ask("GET", path))[0] == 200
        file.write_text("")
        assert (await ask("GET", OPEN + "?u=bad"))[0] == 429
        assert (await ask("POST", "/api/server/reload-blocklist"))[0] == 400
        assert (await ask("POST", "/api/server/reload-blocklist?admintoken=adm")) == (
            200,
            f'Reloaded block list from file "{file}".\n',
        )
        assert (await ask("GET", OPEN + "?u=bad"))[0] == 200
    file.write_text("ip=9.9.*")
    async with site(block_file=file) as ask:
        assert (await ask("GET", OPEN, **proxied))[0] == 200  # who is not behind a proxy says what he likes
        assert (await ask("POST", "/api/server/reload-auth?admintoken=adm"))[0] == 400


@pytest.mark.parametrize("site", FEW, indirect=True)
async def test_pages_of_others_manage_nothing(site):
    """A browser on the machine that is served may have the page of anybody open, even one whose name points here."""
    async with site(cors=("*", "https://console.example")) as ask:
        for origin, good in [("http://evil.example:8000", False), ("null", False), ("https://console.example", True)]:
            said = await ask("POST", "/api/sync/have", Origin=origin)
            assert ("requires admin privileges" in said[1]) is not good, origin
        assert (await ask("POST", "/api/sync/have?admintoken=adm", Origin="null"))[1].startswith("a list of ids")


@pytest.mark.parametrize("site", FEW, indirect=True)
async def test_origins_where_somebody_is_asked(site, gateway):
    async with site(enforce="token", cors=("example.org", "*")) as ask:
        for origin, good in [("https://x.example.org", True), ("https://example.com", False), ("https://x", False)]:
            answer = await ask.client.get("/api/server/info", headers={"Origin": origin})
            allowed = {name: value for name, value in answer.headers.items() if name.startswith("access-control")}
            wanted = {"access-control-allow-origin": origin, "access-control-allow-credentials": "true"}
            assert allowed == (wanted if good else {})


@pytest.mark.parametrize(
    ("uuid", "says"),
    [
        ("zz", "must be a full canonical UUID"),
        ("f" * 32, "is unknown"),
        ("CHILD", "must be committed"),
        ("ROOT:master", "canonical"),
    ],
)
def test_versions_that_cannot_be_public(stored, uuid, says):
    folder, root, child, _ = stored
    config = Config(data=folder, auth=Auth(public_versions=(uuid.replace("CHILD", child).replace("ROOT", root),)))
    with pytest.raises(BadRequest, match=says):
        Server.open(config)
    Server.open(replace(config, auth=Auth())).close()  # it has let go of the folder
