"""The version graph as text: one line a version, newest first, with a lane for each line of descent."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .output import branch_name, moment, short

__all__ = ["graph_lines"]

_PLAIN = str.maketrans("│├┤╯╮─┼┴┬", "|||/\\-+--")
"""For terminals that know ASCII only."""


@dataclass(frozen=True)
class _Node:
    """A version to draw."""

    uuid: str
    parents: tuple[str, ...]
    created: str
    text: str
    open: bool


def graph_lines(repo: Mapping[str, Any], most: int | None = None) -> Iterator[str]:
    """The lines for DVID's JSON of a repo: `*` is a committed version, `o` an open one. Tags stand at what they name.

    most: stop after so many versions.
    """
    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    lanes: list[str | None] = []
    for node in islice(_ordered(_nodes(repo)), most):
        joining = [i for i, expected in enumerate(lanes) if expected == node.uuid]
        at = joining[0] if joining else _free(lanes)
        if len(joining) > 1:
            yield _drawn(_link(lanes, at, joining[1:], "╯┴"), plain)
            for i in joining[1:]:
                lanes[i] = None
        lanes[at] = node.uuid
        _trim(lanes)
        mark = "o" if node.open else "*"
        yield _drawn(" ".join(mark if i == at else _lane(lane) for i, lane in enumerate(lanes)), plain, node.text)
        others = node.parents[1:]
        lanes[at] = node.parents[0] if node.parents else None
        known = [i for i, lane in enumerate(lanes) if lane in others and i != at]
        if known:
            yield _drawn(_link(lanes, at, known, "┤┼"), plain)
        fresh = []
        for parent in others:
            if parent not in lanes:
                fresh.append(_free(lanes, at + 1))
                lanes[fresh[-1]] = parent
        if fresh:
            yield _drawn(_link(lanes, at, fresh, "╮┬"), plain)
        _trim(lanes)


def _nodes(repo: Mapping[str, Any]) -> list[_Node]:
    """The versions with what is said of each; a tag without children becomes a word at its parent."""
    found = list(repo["DAG"]["Nodes"].values())
    uuids = {each["VersionID"]: each["UUID"] for each in found}
    words: dict[str, list[str]] = {each["UUID"]: [] for each in found}
    tags = {each["UUID"] for each in found if each["Branch"] == f"tag-{each['UUID']}" and not each["Children"]}
    branches = {each["VersionID"]: each["Branch"] for each in found}
    for each in found:
        if each["UUID"] in tags:
            for parent in each["Parents"]:
                words[uuids[parent]].append(f"tag: {each['UUID']}")
        elif all(branches[child] != each["Branch"] for child in each["Children"]):
            words[each["UUID"]].insert(0, branch_name(each["Branch"]))
    return [
        _Node(
            each["UUID"],
            tuple(uuids[parent] for parent in each["Parents"]),
            each["Created"],
            _text(each, words[each["UUID"]]),
            not each["Locked"],
        )
        for each in found
        if each["UUID"] not in tags
    ]


def _text(node: Mapping[str, Any], words: list[str]) -> str:
    said = [*words, *([] if node["Locked"] else ["open"])]
    parts = [short(node["UUID"]), moment(node["Created"]), f"({', '.join(said)})" if said else ""]
    return "  ".join(part for part in (*parts, " ".join(node["Note"].split())) if part)


def _ordered(nodes: list[_Node]) -> Iterator[_Node]:
    """Newest first, but no version before its children."""
    by_uuid = {node.uuid: node for node in nodes}
    waiting = dict.fromkeys(by_uuid, 0)
    for node in nodes:
        for parent in node.parents:
            waiting[parent] += 1
    order = {uuid: -i for i, uuid in enumerate(sorted(by_uuid, key=lambda uuid: (by_uuid[uuid].created, uuid)))}
    ready = [(order[uuid], uuid) for uuid, count in waiting.items() if not count]
    heapq.heapify(ready)
    while ready:
        node = by_uuid[heapq.heappop(ready)[1]]
        yield node
        for parent in node.parents:
            waiting[parent] -= 1
            if not waiting[parent]:
                heapq.heappush(ready, (order[parent], parent))


def _free(lanes: list[str | None], start: int = 0) -> int:
    """The first lane from `start` on that nobody uses."""
    for i in range(start, len(lanes)):
        if lanes[i] is None:
            return i
    lanes.append(None)
    return len(lanes) - 1


def _trim(lanes: list[str | None]) -> None:
    while lanes and lanes[-1] is None:
        lanes.pop()


def _lane(lane: str | None) -> str:
    return " " if lane is None else "│"


def _link(lanes: list[str | None], at: int, others: list[int], shapes: str) -> str:
    """A line that ties lanes to the lane `at`. `shapes`: of one on the right, alone and where a line passes it."""
    cells = list(" ".join(_lane(lane) for lane in lanes))
    for other in sorted(others, key=lambda i: abs(i - at), reverse=True):
        low, high = sorted((2 * at, 2 * other))
        passed = cells[2 * other] in "─┼"
        cells[2 * other] = (shapes if other > at else "├┼")[passed]
        for i in range(low + 1, high):
            cells[i] = {"│": "┼", " ": "─"}.get(cells[i], cells[i])
    cells[2 * at] = "┤" if max(others) < at else "├" if min(others) > at else "┼"
    return "".join(cells)


def _drawn(lanes: str, plain: bool, text: str = "") -> str:
    drawn = lanes.translate(_PLAIN) if plain else lanes
    return f"{drawn.rstrip()}  {text}" if text else drawn.rstrip()
