"""`dagdvid demo`: two servers with sample data, made, pushed, compared and checked before your eyes."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from dagdvid.config import DEFAULT_HTTP
from dagdvid.errors import BadRequest, Corrupt, UnavailableError

from .child import ServerProcess
from .client import Api, HttpApi
from .differences import print_changes, print_instances, stream_members
from .output import progress, short, size

__all__ = ["demo"]

ALIAS, REMOTE = "dagdvid-demo", "second"
BASE, PROOFREAD, CORRECTED = "sample tissue and records", "neurons proofread", "contrast corrected in one box"
BOX = (64, 32, 32)
"""Voxels along x, y, z of the box that one branch changes; it lies at BOX, too, so that its blocks are whole."""


@click.command
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("dagdvid-demo"),
    show_default=True,
    help="Where both servers keep their data.",
)
@click.option("--http", metavar="HOST:PORT", default=DEFAULT_HTTP, show_default=True, help="Where the first listens.")
@click.option("--no-wait", is_flag=True, help="End when all is shown; do not keep serving.")
def demo(data: Path, http: str, no_wait: bool) -> None:
    """Show dagdvid at work with sample data. They are made, served, pushed to a second server and compared.

    The data stay in DIR; when run again, it serves them.
    """
    with _ended_by_sigterm(), ExitStack() as stack:
        one = stack.enter_context(ServerProcess(data / "one", http))
        _say(f"a server with the data in {one.data} listens on {one.url}")
        here = stack.enter_context(HttpApi(one.url))
        versions = _find(here, data) or _make(here)
        _show_differences(here, versions)
        two = stack.enter_context(ServerProcess(data / "two", "127.0.0.1:0"))
        _say(f"a second server with the data in {two.data} listens on {two.url}")
        there = stack.enter_context(HttpApi(two.url))
        _push(here, versions, two.url)
        _compare(here, there, versions)
        if no_wait:
            _say("all is shown and checked; both servers stop")
            return
        _invite(one.url, two.url, versions)
        while not (one.wait(0.5) or two.wait(0.5)):
            pass
        raise UnavailableError("a server ended by itself; its message is above")


@dataclass(frozen=True)
class _Versions:
    """UUIDs: the repo's root, the last version of master, and that of the branch "corrected"."""

    root: str
    proofread: str
    corrected: str

    def each(self) -> tuple[str, str, str]:
        return self.root, self.proofread, self.corrected


def _say(text: str) -> None:
    click.echo(f"* {text}")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End as by Ctrl-C, quietly, with the servers stopped."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\n* stopped both servers")
    finally:
        signal.signal(signal.SIGTERM, before)


def _find(api: Api, data: Path) -> _Versions | None:
    """The versions of an earlier run; None if there was none."""
    repos: dict[str, dict[str, Any]] = api.get("/api/repos/info")
    repo = next((repo for repo in repos.values() if repo["Alias"] == ALIAS), None)
    if repo is None:
        return None
    found = {node["Note"]: node["UUID"] for node in repo["DAG"]["Nodes"].values() if node["Locked"]}
    if not {BASE, PROOFREAD, CORRECTED} <= set(found):
        raise BadRequest(f"an earlier demo did not finish making its data; remove the folder {data} and run it again")
    _say("the sample data are there from an earlier run")
    return _Versions(found[BASE], found[PROOFREAD], found[CORRECTED])


def _make(api: Api) -> _Versions:
    """Put the sample data into a new repo, over HTTP like any client's."""
    from .sample import SHAPE, neurons, tissue  # noqa: PLC0415 - NumPy is for this only

    _say("making grayscale that looks like tissue, and neuron records")
    image, records = tissue(), neurons()
    extent = "_".join(str(n) for n in reversed(SHAPE))
    root = api.post("/api/repos", {"alias": ALIAS, "description": "made by dagdvid demo"})["root"]
    node = f"/api/node/{root}"
    api.post(f"/api/repo/{root}/instance", {"typename": "uint8blk", "dataname": "grayscale"})
    api.post(f"/api/repo/{root}/instance", {"typename": "keyvalue", "dataname": "neurons"})
    start = time.monotonic()
    api.request("POST", f"{node}/grayscale/raw/0_1_2/{extent}/0_0_0", None, image.tobytes()).read()
    for key, value in records.items():
        api.request("POST", f"{node}/neurons/key/{key}", None, value).read()
    seconds = time.monotonic() - start
    _say(f"posted {size(image.nbytes)} of grayscale ({extent}) and {len(records)} neuron records in {seconds:.1f} s")
    _commit(api, root, BASE)

    proofread = api.post(f"{node}/newversion", {"note": ""})["child"]
    for key in sorted(records)[10:20]:
        record = {**json.loads(records[key]), "status": "Traced"}
        api.request("POST", f"/api/node/{proofread}/neurons/key/{key}", None, json.dumps(record).encode()).read()
    api.request("DELETE", f"/api/node/{proofread}/neurons/key/1100").read()
    new = b'{"bodyid": 2001, "status": "Orphan"}'
    api.request("POST", f"/api/node/{proofread}/neurons/key/2001", None, new).read()
    _commit(api, proofread, PROOFREAD)
    api.post(f"/api/node/{proofread}/newversion", {"note": "yours to change"})

    corrected = api.post(f"{node}/branch", {"branch": "corrected", "note": ""})["child"]
    place = tuple(slice(n, 2 * n) for n in reversed(BOX))
    brighter = image[place] // 2 + 100
    box = "_".join(str(n) for n in BOX)
    api.request("POST", f"/api/node/{corrected}/grayscale/raw/0_1_2/{box}/{box}", None, brighter.tobytes()).read()
    _commit(api, corrected, CORRECTED)
    return _Versions(root, proofread, corrected)


def _commit(api: Api, uuid: str, note: str) -> None:
    api.post(f"/api/node/{uuid}/commit", {"note": note, "log": []})
    _say(f'committed version {short(uuid)} "{note}": hash {short(_hash(api, uuid))}…')


def _hash(api: Api, uuid: str) -> str:
    digest: str = api.get(f"/api/node/{uuid}/hash")["hash"]
    return digest


def _show_differences(api: Api, versions: _Versions) -> None:
    edits = (("proofreading", versions.proofread, "neurons"), ("branch", versions.corrected, "grayscale"))
    for what, child, data in edits:
        path = f"diff/{child}"
        _say(f"what the {what} changed: dagdvid diff {short(versions.root)} {short(child)}")
        print_instances(api.get(f"/api/node/{versions.root}/{path}")["instances"])
        _say(f"and in it: dagdvid diff {short(versions.root)} {short(child)} {data}")
        answer = api.request("GET", f"/api/node/{versions.root}/{data}/{path}")
        print_changes(stream_members(answer.pieces, "changes"))


def _push(api: Api, versions: _Versions, url: str) -> None:
    api.post(f"/api/repo/{versions.root}/remotes", {"name": REMOTE, "url": url})
    for _ in range(2):
        with progress(always=False) as show:
            result = api.follow(f"/api/repo/{versions.root}/push", {"remote": REMOTE}, show)
        _say(
            f"pushed {result['versions']} versions to {url}: {result['objects']} objects, {size(result['bytes'])}, "
            f"{result['round_trips']} round trips, {result['seconds']:.2f} s"
        )


def _compare(here: Api, there: Api, versions: _Versions) -> None:
    """Ask both servers the same; the answers must be equal.

    Raises:
        Corrupt: they are not.
    """
    from .sample import SHAPE  # noqa: PLC0415 - NumPy

    extent = "_".join(str(n) for n in reversed(SHAPE))
    paths = [
        path
        for uuid in versions.each()
        for path in (
            f"/api/node/{uuid}/hash",
            f"/api/node/{uuid}/grayscale/raw/0_1_2/{extent}/0_0_0",
            f"/api/node/{uuid}/neurons/keyrangevalues/0/z",
        )
    ]
    compared = 0
    for path in paths:
        query = {"json": "true"} if path.endswith("/z") else None
        ours, theirs = (api.request("GET", path, query).read() for api in (here, there))
        if ours != theirs or not ours:
            raise Corrupt(f"the second server answers {path} differently")
        compared += len(ours)
    _say(f"the second server answers the same for all three versions, hashes, voxels and records: {size(compared)}")


def _invite(one: str, two: str, versions: _Versions) -> None:
    root, proofread = short(versions.root), short(versions.proofread)
    click.echo(
        f"""
Open in a browser
  {one}/api/help          all endpoints and datatypes
  {one}/api/repos/info    the repo with its versions
  {one}/api/node/{proofread}/neurons/keys
  {two}/api/repos/info    the same repo on the second server

Try
  dagdvid log --server {one}
  dagdvid diff {root} {proofread} neurons --server {one}
  curl {one}/api/node/{proofread}/neurons/key/1011
  curl -X POST -d '{{"status": "mine"}}' {one}/api/node/{root}:master/neurons/key/1011
  dagdvid commit {root}:master -m "my first edit" --server {one}
  dagdvid push {REMOTE} --server {one}
  dagdvid fsck --server {two}

Both servers run until you press Ctrl-C."""
    )
