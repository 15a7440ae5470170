"""Published stores in buckets: S3 as moto serves it, Azure where its emulator is at hand (SPEC 8.5, 8.9).

`azurite-blob` (npm: azurite) is run if it is on the PATH; fake-gcs-server does not take uploads as obstore sends them.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sites import Site, same
from test_published import BIG, sample

from dagdvid.cli.child import ServerProcess
from dagdvid.errors import Offline, RemoteError
from dagdvid.remote.published.bucket import BucketSite
from dagdvid.remote.published.refs import move_ref, read_ref
from dagdvid.remote.published.site import FolderSite, open_site
from dagdvid.remote.published.site import Site as Place

ACCOUNT, KEY = (
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
)
"""What every Azurite has; no secret."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running(words: list[str], url: str, folder: Path) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder)
    try:
        for _ in range(600):
            try:
                httpx.get(url)
                break
            except httpx.HTTPError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def s3(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("moto")
    patch.setenv("AWS_ACCESS_KEY_ID", "key")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    url = f"http://127.0.0.1:{(port := free_port())}"
    words = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(words, url, folder):
        httpx.put(f"{url}/bucket").raise_for_status()
        yield f"s3://bucket/under/here?endpoint={url}"


def az(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    program = shutil.which("azurite-blob") or pytest.skip("there is no azurite")
    port = free_port()
    words = [program, "--blobPort", str(port), "--silent", "--location", str(folder), "--skipApiVersionCheck"]
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    patch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    patch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    with running(words, url, folder):
        make_container(port)
        yield f"az://bucket/under/here?endpoint={url}"


def make_container(port: int) -> None:
    """Make the container `bucket`, signed as Azure's shared keys ask."""
    import base64
    import hmac
    from email.utils import formatdate

    date = formatdate(usegmt=True)
    path = f"/{ACCOUNT}/bucket"
    headers = f"x-ms-date:{date}\nx-ms-version:2021-12-02\n"
    text = "PUT\n\n\n\n\n\n\n\n\n\n\n\n" + headers + f"/{ACCOUNT}{path}\nrestype:container"
    signed = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), "sha256")).decode()
    httpx.put(
        f"http://127.0.0.1:{port}{path}?restype=container",
        headers={
            "x-ms-date": date,
            "x-ms-version": "2021-12-02",
            "Authorization": f"SharedKey {ACCOUNT}:{signed}",
            "Content-Length": "0",
        },
    ).raise_for_status()


@pytest.fixture(scope="module", params=[s3, az], ids=["s3", "az"])
def bucket(request, tmp_path_factory) -> Iterator[str]:
    """The URL of an empty place in a bucket."""
    with pytest.MonkeyPatch.context() as patch:
        yield from request.param(tmp_path_factory.mktemp("bucket"), patch)


def test_what_a_site_must_do(bucket: str):
    site = open_site(bucket)
    assert site.read("absent") is None
    with pytest.raises(RemoteError):
        site.read_ranges("absent", [(0, 1)])
    assert site.swap("ref", b"1", None)
    assert not site.swap("ref", b"2", None)
    seen = site.read("ref")
    assert site.swap("ref", b"3", seen.state)
    assert not site.swap("ref", b"4", seen.state)
    assert site.read("ref").data == b"3"
    site.put("file", b"0123456789")
    assert site.read_ranges("file", [(5, 9), (2, 4)]) == [b"5678", b"23"]
    assert "?" not in site.name


def test_publish_clone_write_and_publish_again(bucket: str, tmp_path):
    with ServerProcess(tmp_path / "a", "127.0.0.1:0") as one, ServerProcess(tmp_path / "b", "127.0.0.1:0") as two:
        a, b = Site(one.url), Site(two.url)
        root, child, _ = sample(a)
        done = a.json("POST", f"/api/repo/{root}/publish", {"url": bucket})
        assert done["bytes"] > len(BIG)
        assert b.json("POST", "/api/repos/clone", {"url": bucket})["versions"] == 3
        same(a, b, root)
        assert b.get(child, "large") == BIG
        assert b.get(child, "k0690") == a.get(child, "k0690")
        mine = b.step(child, mine=b"m" * 3000)
        again = b.json("POST", f"/api/repo/{root}/publish", {"url": bucket, "versions": [mine]})
        assert again["bytes"] < 60_000
        a.remote(root, bucket)
        assert a.pull(root)["versions"] == 1
        assert a.get(mine, "mine") == b"m" * 3000
        assert a.fsck()["ok"]
        assert b.fsck()["ok"]
        assert b.json("GET", "/api/store/stats")["bases"][bucket.partition("?")[0]]["problem"] == ""
        a.close()
        b.close()


REFS = {"repo": "r", "commit": "0" * 64, "record": "0" * 64, "head": "0" * 64, "data": {}}


def writers(places: list[Place], n: int) -> None:
    """Each place counts in the branch `shared`, beside the others, and in one of its own, n times."""
    failures: list[BaseException] = []

    def count(i: int, place: Place) -> None:
        try:
            for k in range(n):
                own = read_ref(place, "r", f"own{i}")
                assert (own.facts["count"] if own else 0) == k
                assert move_ref(place, REFS | {"branch": f"own{i}", "count": k + 1}, own), "a false conflict"
                while True:
                    ref = read_ref(place, "r", "shared")
                    counts = dict(ref.facts["counts"]) if ref else {}
                    if counts.get(str(i), 0) == k + 1:
                        break  # ours was done, its reply lost, and others have written on it
                    assert counts.get(str(i), 0) == k, "a lost update"
                    facts = REFS | {"branch": "shared", "counts": counts | {str(i): k + 1}}
                    if move_ref(place, facts, ref):
                        break
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=count, args=each) for each in enumerate(places)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    counts = read_ref(places[0], "r", "shared").facts["counts"]
    assert counts == {str(i): n for i in range(len(places))}


def test_two_writers_lose_no_update_of_a_bucket(bucket: str):
    writers([open_site(bucket), open_site(bucket)], 60)


class LostReplies:
    """A site whose writes are done, and are then said to have failed, every third time."""

    def __init__(self, site: Place) -> None:
        self.name = site.name
        self._site = site
        self._n = 0

    def read(self, path: str):
        return self._site.read(path)

    def swap(self, path: str, data: bytes, state: str | None) -> bool:
        done = self._site.swap(path, data, state)
        self._n += 1
        if self._n % 3 == 0:
            raise Offline("the reply was lost")
        return done


def test_a_lost_reply_is_no_conflict_in_a_folder(tmp_path):
    writers([LostReplies(FolderSite(tmp_path)), LostReplies(FolderSite(tmp_path)), FolderSite(tmp_path)], 70)


def test_a_web_server_takes_no_writes():
    site = BucketSite("http://127.0.0.1:9/x")
    with pytest.raises(Exception, match="only be read"):
        site.put("x", b"")
