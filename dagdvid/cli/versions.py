"""Repos and versions: `repos`, `log`, `commit`, `branch`."""

from __future__ import annotations

import json
from typing import Any

import click

from .client import Api
from .graph import graph_lines
from .output import branch_name, moment, print_json, short, table
from .target import Target, as_json, repo_option, target_options, the_repo
from .words import send

__all__ = ["branch", "commit", "log", "repos"]

_RECORDS = 100


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[WORD...]")
@target_options
@as_json
def repos(target: Target, words: tuple[str, ...], as_json: bool) -> None:
    """List the repos; with words, DVID's commands on them (dagdvid help server)."""
    if words:
        send(target, ("repos", *words))
        return
    with target.read() as api:
        found: dict[str, dict[str, Any]] = api.get("/api/repos/info")
    if as_json:
        print_json(found)
    elif not found:
        click.echo("no repos")
    else:
        rows = [
            (short(root), repo["Alias"], len(repo["DAG"]["Nodes"]), _instances(repo), moment(repo["Updated"]))
            for root, repo in sorted(found.items(), key=lambda item: item[1]["Created"])
        ]
        table(("repo", "alias", "versions", "data instances", "updated"), rows)


def _instances(repo: dict[str, Any]) -> str:
    items = sorted(repo["DataInstances"].items())
    return ", ".join(f"{name} ({data['Base']['TypeName']})" for name, data in items) or "-"


@click.command
@click.option("--graph", is_flag=True, help="Draw the lines of descent, with branches, tags, merges, open versions.")
@click.option("--record", is_flag=True, help="Show how the repo's record changed instead: names, texts, branches ...")
@click.option("-n", "--number", metavar="N", type=click.IntRange(min=1), help="Show the newest N only.")
@repo_option
@target_options
@as_json
def log(target: Target, *, repo: str | None, graph: bool, record: bool, number: int | None, as_json: bool) -> None:
    """Show the versions of a repo, newest first."""
    if graph and record:
        raise click.UsageError("give either --graph or --record")
    with target.read() as api:
        found = the_repo(api, repo)
        if record:
            query = {"max": str(number or _RECORDS)}
            show_record(api.request("GET", f"/api/repo/{found['Root']}/record/history", query).json(), as_json)
            return
    nodes = _nodes(found)[:number]
    if as_json:
        print_json(nodes)
        return
    if graph:
        for line in graph_lines(found, number):
            click.echo(line)
        return
    rows = [
        (
            short(node["UUID"]),
            branch_name(node["Branch"]),
            "committed" if node["Locked"] else "open",
            short(node.get("Hash", "")) or "-",
            moment(node["Created"]),
            " ".join(node["Note"].split()),
        )
        for node in nodes
    ]
    table(("version", "branch", "state", "hash", "created", "note"), rows)


def show_record(states: list[dict[str, Any]], as_json: bool) -> None:
    """The states of a repo's record, each with the facts that changed."""
    if as_json:
        print_json(states)
        return
    for state in states:
        click.echo(f"{moment(state['time'])}  {short(state['id'])}  {state['user'] or '-'}")
        for fact in state["changes"]:
            sign = "+" if "before" not in fact else "-" if "after" not in fact else "~"
            values = [json.dumps(fact[name], ensure_ascii=False) for name in ("before", "after") if name in fact]
            click.echo(f"    {sign} {fact['key']} {' -> '.join(values)}")


def _nodes(repo: dict[str, Any]) -> list[dict[str, Any]]:
    """The versions of a repo, newest first."""
    nodes: list[dict[str, Any]] = list(repo["DAG"]["Nodes"].values())
    return sorted(nodes, key=lambda node: (node["Created"], node["VersionID"]), reverse=True)


@click.command
@click.argument("uuid")
@click.option("-m", "--message", metavar="NOTE", required=True, help="What the version is about.")
@target_options
@as_json
def commit(target: Target, uuid: str, message: str, as_json: bool) -> None:
    """Commit the version UUID. It takes no more changes, and gets its hash."""
    with target.write() as api:
        committed = api.post(f"/api/node/{uuid}/commit", {"note": message, "log": []})["committed"]
        digest = api.get(f"/api/node/{committed}/hash")["hash"]
    if as_json:
        print_json({"committed": committed, "hash": digest})
    else:
        click.echo(f"committed {committed}\nhash      {digest}")


@click.command
@click.argument("name", required=False)
@click.option("--at", metavar="UUID", help="The committed version to branch from; else the leaf of master.")
@click.option("-m", "--message", metavar="NOTE", default="", help="What the new version is about.")
@repo_option
@target_options
@as_json
def branch(target: Target, *, name: str | None, at: str | None, message: str, repo: str | None, as_json: bool) -> None:
    """List the branches of a repo; with NAME, make one."""
    if name is None:
        if at is not None or message:
            raise click.UsageError("--at and -m go with the NAME of a new branch")
        with target.read() as api:
            _list_branches(the_repo(api, repo), as_json)
        return
    with target.write() as api:
        child = _new_branch(api, name, at or f"{the_repo(api, repo)['Root']}:master", message)
    if as_json:
        print_json({"branch": name, "child": child})
    else:
        click.echo(f"branch {name} begins with the open version {child}")


def _new_branch(api: Api, name: str, at: str, message: str) -> str:
    made: dict[str, str] = api.post(f"/api/node/{at}/branch", {"branch": name, "note": message})
    return made["child"]


def _list_branches(repo: dict[str, Any], as_json: bool) -> None:
    nodes = _nodes(repo)
    leaves = [
        {"branch": node["Branch"], "leaf": node["UUID"], "locked": node["Locked"], "versions": counted}
        for node in nodes
        if (counted := sum(other["Branch"] == node["Branch"] for other in nodes))
        and not any(child["VersionID"] in node["Children"] and child["Branch"] == node["Branch"] for child in nodes)
    ]
    if as_json:
        print_json(leaves)
        return
    rows = [
        (branch_name(leaf["branch"]), short(leaf["leaf"]), "committed" if leaf["locked"] else "open", leaf["versions"])
        for leaf in sorted(leaves, key=lambda leaf: leaf["branch"])
    ]
    table(("branch", "last version", "state", "versions"), rows)
