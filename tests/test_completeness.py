"""What must be whole: modules that import, the error tree and its codes, and every route of every table."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagdvid import errors
from dagdvid.api.problems import STATUSES, status_of
from dagdvid.registry import datatype, datatype_names
from dagdvid.routes import Reply, Route, RouteTable

ROOT = Path(__file__).resolve().parents[1]

ERRORS = {
    "DagdvidError": ("error", 500),
    "RequestError": ("request", 400),
    "BadRequest": ("bad-request", 400),
    "Unverified": ("unverified", 400),
    "UnknownName": ("unknown-name", 400),
    "KeyAbsent": ("key-absent", 404),
    "Locked": ("locked", 400),
    "Forbidden": ("forbidden", 400),
    "Unauthenticated": ("unauthenticated", 401),
    "NoAccess": ("no-access", 403),
    "Blocked": ("blocked", 429),
    "TooLarge": ("too-large", 413),
    "ConflictError": ("conflict", 409),
    "StaleRead": ("stale-read", 409),
    "Unconfirmed": ("unconfirmed", 409),
    "RefMoved": ("ref-moved", 409),
    "Diverged": ("diverged", 409),
    "DamageError": ("damage", 500),
    "Corrupt": ("corrupt", 500),
    "PackGone": ("pack-gone", 409),
    "MissingObject": ("missing-object", 500),
    "Lost": ("lost", 500),
    "UnavailableError": ("unavailable", 503),
    "InUse": ("in-use", 503),
    "ReadOnly": ("read-only", 400),
    "NoSpace": ("no-space", 507),
    "OutOfIds": ("out-of-ids", 503),
    "Busy": ("busy", 503),
    "FateUnknown": ("fate-unknown", 503),
    "RemoteError": ("remote", 502),
    "Offline": ("offline", 503),
}
"""Class -> code and HTTP status. Programs rely on both: this table is only ever added to."""


def module_names() -> Iterator[str]:
    """Every installed module but `dagdvid.__main__`, which runs the program; the folder api/ is `dagdvid.api`."""
    for folder, package in ((ROOT / "dagdvid", "dagdvid"), (ROOT / "api", "dagdvid.api")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if parts[-1] != "__main__":
                yield ".".join([package, *(part for part in parts if part != "__init__")])


MODULES = list(module_names())


def tables() -> dict[str, RouteTable]:
    """Every route table that a module holds, by the first name of it. That a module imports, another test says."""
    found: dict[int, tuple[str, RouteTable]] = {}
    for module in MODULES:
        try:
            names = vars(importlib.import_module(module))
        except ImportError:
            continue
        for name, value in names.items():
            if isinstance(value, RouteTable):
                found.setdefault(id(value), (f"{module}.{name}", value))
    return dict(found.values())


ROUTES = [
    pytest.param(table, route, id=f"{name}:{route.pattern}") for name, table in tables().items() for route in table
]


def errors_below(root: type[errors.DagdvidError]) -> Iterator[type[errors.DagdvidError]]:
    yield root
    for child in root.__subclasses__():
        yield from errors_below(child)


ERROR_CLASSES = list(errors_below(errors.DagdvidError))


def sample(route: Route) -> list[str]:
    """The segments of a path that the route is for."""
    return [segment.strip("{}?") + "-x" if segment.startswith("{") else segment for segment in route.segments]


HOLE = "\0"


def text_of(node: ast.AST) -> str:
    """The string that an expression makes, with HOLE for what only running it would tell."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return HOLE


def texts(source: str) -> Iterator[str]:
    """All strings that a source makes, docstrings left out."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp) and id(node) not in docstrings:
            yield text_of(node)


def asks(route: Route) -> re.Pattern[str]:
    """What finds a URL path of the route in a string; whatever stands before the pattern fits."""
    named = [segment for segment in route.segments if not segment.endswith("?}")]
    parts = ["[^/?]+" if segment.startswith("{") else re.escape(segment) for segment in named]
    return re.compile(rf"(?:^|/){'/'.join(parts)}(?=[/?]|$)")


TESTED = [text for path in sorted((ROOT / "tests").rglob("*.py")) for text in texts(path.read_text("utf-8"))]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_imports(module: str) -> None:
    assert importlib.import_module(module).__doc__


def test_error_codes_are_stable_and_unique() -> None:
    assert {error.__name__: error.code for error in ERROR_CLASSES} == {name: code for name, (code, _) in ERRORS.items()}
    assert [code for code, times in Counter(code for code, _ in ERRORS.values()).items() if times > 1] == []


@pytest.mark.parametrize("error", ERROR_CLASSES)
def test_errors_have_a_status(error: type[errors.DagdvidError]) -> None:
    assert status_of(error("said")) == ERRORS[error.__name__][1]
    row = next(kind for kind, _ in STATUSES if issubclass(error, kind))
    assert row is not errors.DagdvidError or error is errors.DagdvidError, "a new family needs a row of its own"


def test_error_tree_is_exported_and_drawn() -> None:
    names = {error.__name__ for error in ERROR_CLASSES}
    assert sorted(names) == sorted(errors.__all__)
    assert errors.__doc__ is not None
    assert [name for name in names if name not in errors.__doc__] == []


def test_every_installed_datatype_has_a_table() -> None:
    assert {"keyvalue", "uint8blk"} <= set(datatype_names())
    for name in datatype_names():
        assert datatype(name).name == name
        assert list(datatype(name).routes), f"{name} has no routes"


@pytest.mark.parametrize(("table", "route"), ROUTES)
def test_routes_are_reachable(table: RouteTable, route: Route) -> None:
    """No earlier route of the table takes a route's own paths."""
    for method in route.methods:
        match = table.match(method, sample(route))
        assert match is not None
        assert match[0] is route, f"{method} {route.pattern} is hidden by {match[0].pattern}"


@pytest.mark.parametrize(("table", "route"), ROUTES)
def test_routes_are_described(table: RouteTable, route: Route) -> None:
    assert len(route.doc.split()) >= 3, "help for people: a sentence"
    assert [item for item, meaning in route.query.items() if not meaning.strip()] == []


@pytest.mark.parametrize(("table", "route"), ROUTES)
def test_routes_are_tested(table: RouteTable, route: Route) -> None:
    """Some test names a path of the route. What it asks there is for readers to judge."""
    assert any(map(asks(route).search, TESTED)), f"no test asks for {route.pattern}"


@pytest.mark.parametrize(
    ("pattern", "source", "found"),
    [
        ("key/{key}", 'get(f"{node}/kv/key/{name}")', True),
        ("key/{key}", 'get(node + "/kv/key/" + name)', True),
        ("key/{key}", 'get("key/a?x=1")', True),
        ("key/{key}", 'get("/kv/keys/a")', False),
        ("key/{key}", 'get("/kv/key/")', False),
        ("key/{key}", '"""Ask for key/a."""', False),
        ("keys", 'get("/kv/monkeys")', False),
        ("raw/{dims}/{size}/{offset}/{format?}", 'get(f"raw/0_1_2/{size}/0_0_0")', True),
        ("raw/{dims}/{size}/{offset}/{format?}", 'get(f"raw/0_1_2/{size}")', False),
    ],
)
def test_tested_paths_are_told_from_others(pattern: str, source: str, found: bool) -> None:
    route = Route(("GET",), pattern, Reply, "")
    assert any(map(asks(route).search, texts(source))) is found
