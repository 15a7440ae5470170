"""The import rule of design.md (section 2), read from the source text with `ast`; nothing of ours is imported here.

`RULES` names the layers and what each may import. Imports under `if TYPE_CHECKING:` are excepted, those inside
functions are not. A new top-level module or package must be given a row.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

VERSION = "version"
"""The package `dagdvid` itself, which holds nothing but its version."""

RULES: dict[str, set[str]] = {
    VERSION: set(),
    "errors": set(),
    "routes": {"errors"},
    "words": {"errors"},
    "geometry": {"errors"},
    "urls": {"errors"},
    "config": {"errors"},
    "kernels": {"errors"},
    "datatype": {"routes", "words", "errors"},
    "registry": {"datatype", "routes", "errors"},
    "helptext": {"registry", "datatype", "routes", "words", "errors"},
    "interchange": {"kernels", "geometry", "errors"},
    "objects": {"kernels", "errors"},
    "repo": {"objects", "kernels", "interchange", "datatype", "registry", "routes", "errors"},
    "remote": {"urls", "repo", "objects", "kernels", "routes", "errors", VERSION},
    "datatypes": {"datatype", "routes", "words", "kernels", "interchange", "geometry", "errors"},
    "sharedfolder": {"errors"},
    "throttle": {"sharedfolder", "errors"},
    "meters": {"sharedfolder"},
    "metrics": {"meters", "repo", VERSION},
    "access": {"urls", "sharedfolder", "repo", "config", "routes", "errors"},
    "service": {
        "access",
        "meters",
        "metrics",
        "throttle",
        "repo",
        "registry",
        "datatype",
        "helptext",
        "config",
        "routes",
        "errors",
        VERSION,
    },
    "commands": {"remote", "repo", "registry", "datatype", "helptext", "routes", "words", "errors"},
    "server": {
        "access",
        "meters",
        "sharedfolder",
        "throttle",
        "commands",
        "service",
        "remote",
        "repo",
        "objects",
        "kernels",
        "registry",
        "datatype",
        "helptext",
        "config",
        "routes",
        "errors",
        VERSION,
    },
    "testing": {"server", "remote", "repo", "objects", "datatype", "routes", "config", "errors"},
    "api": {"server", "config", "helptext", "routes", "errors", VERSION},
    "cli": {"urls", "api", "server", "access", "commands", "config", "helptext", "routes", "words", "errors", VERSION},
    "__main__": {"cli"},
}

OUTSIDERS: dict[str, set[str]] = {
    "quart": {"api"},
    "hypercorn": {"api"},
    "werkzeug": {"api"},
    "uvicorn": {"api"},
    "granian": {"api"},
    "httpx": {"remote", "access", "cli"},
    "sqlite3": {"objects", "repo"},
    "sqlite_utils": {"objects", "repo"},
    "click": {"cli"},
    "numba": {"kernels"},
}
"""Libraries that stay in one place, and where."""

ENVIRONMENT = {"config"}
"""Who may read the environment."""

ALLOWED: dict[tuple[str, str], str] = {
    ("dagdvid.datatype", "dagdvid.objects.codecs"): "codec numbers belong to the pack format; datatypes see them here",
}
"""Exceptions: (module, what it imports) -> the reason. One that is no longer needed fails a test."""


def source_files() -> dict[str, Path]:
    """Module name -> file, for all that is installed; the folder api/ is the package `dagdvid.api`."""
    found = {}
    for folder, package in ((ROOT / "dagdvid", ()), (ROOT / "api", ("api",))):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
            found[".".join(("dagdvid", *package, *parts))] = path
    return found


FILES = source_files()


def layer(module: str) -> str:
    """The row of RULES for a module. A datatype's folder is `datatypes/NAME`; plain modules beside it are shared."""
    parts = module.split(".")
    if len(parts) == 1:
        return VERSION
    if parts[1] == "datatypes" and len(parts) > 2 and (len(parts) > 3 or _is_package(module)):
        return f"datatypes/{parts[2]}"
    return parts[1]


def _is_package(module: str) -> bool:
    return module in FILES and FILES[module].name == "__init__.py"


def may_import(importer: str) -> set[str]:
    """The layers that a layer may import, itself included."""
    if importer.startswith("datatypes/"):
        return RULES["datatypes"] | {"datatypes", importer}
    return RULES[importer] | {importer}


def imports(module: str, tree: ast.AST) -> Iterator[str]:
    """Every module that a module names in an import, absolute, with what is only for type checkers left out."""
    package = module.split(".") if _is_package(module) else module.split(".")[:-1]
    for node in _walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            head = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*head, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in FILES else base
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            yield from (str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant))


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
        children: Iterator[ast.AST] = iter(node.orelse)
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from _walk(child)


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def reads_environment(tree: ast.AST) -> bool:
    """Whether the environment is named: `os.environ`, `os.getenv`, or either one imported from os."""
    words = {"environ", "environb", "getenv", "getenvb"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in words and _name(node.value) == "os":
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "os" and any(a.name in words for a in node.names):
            return True
    return False


def violations(module: str, source: str) -> list[tuple[str, str]]:
    """What a module does against the rules: pairs of the module and what it imports."""
    tree = ast.parse(source)
    here = layer(module)
    found = []
    for target in imports(module, tree):
        top = target.split(".")[0]
        if (top == "dagdvid" and layer(target) not in may_import(here)) or here not in OUTSIDERS.get(top, {here}):
            found.append((module, target))
    if reads_environment(tree) and here not in ENVIRONMENT:
        found.append((module, "os.environ"))
    return sorted(set(found))


@pytest.mark.parametrize("module", FILES)
def test_imports_follow_the_layers(module: str) -> None:
    assert layer(module).split("/")[0] in RULES, f"{module} stands in no layer: give it a row in RULES"
    bad = [pair for pair in violations(module, FILES[module].read_text("utf-8")) if pair not in ALLOWED]
    assert not bad, f"{module} ({layer(module)}) may import only {sorted(may_import(layer(module)))}"


def test_exceptions_are_needed_and_have_reasons() -> None:
    broken = {pair for module, path in FILES.items() for pair in violations(module, path.read_text("utf-8"))}
    assert set(ALLOWED) <= broken, "an exception that nothing needs"
    assert all(ALLOWED.values())


def test_layers_have_no_cycle() -> None:
    order = list(TopologicalSorter(RULES).static_order())
    assert set(order) == set(RULES), "RULES names a layer that has no row"


BAD = [
    ("dagdvid.errors", "import dagdvid.routes", "dagdvid.routes"),
    ("dagdvid.objects.x", "from dagdvid.repo import dag", "dagdvid.repo"),
    ("dagdvid.objects.x", "from dagdvid import registry", "dagdvid.registry"),
    ("dagdvid.objects.x", "from ..registry import datatype", "dagdvid.registry"),
    ("dagdvid.objects", "from .. import registry", "dagdvid.registry"),
    ("dagdvid.objects.x", "def f():\n    import dagdvid.repo.dag", "dagdvid.repo.dag"),
    ("dagdvid.objects.x", "import importlib\nimportlib.import_module('dagdvid.repo')", "dagdvid.repo"),
    ("dagdvid.objects.x", "if TYPE_CHECKING:\n    pass\nelse:\n    import dagdvid.repo", "dagdvid.repo"),
    ("dagdvid.datatypes.a.ops", "from dagdvid.datatypes.b.keys import K", "dagdvid.datatypes.b.keys"),
    ("dagdvid.datatypes.a.ops", "from dagdvid.repo import txn", "dagdvid.repo"),
    ("dagdvid.datatypes.settings", "import dagdvid.datatypes.a.ops", "dagdvid.datatypes.a.ops"),
    ("dagdvid.server", "import dagdvid.datatypes.a.ops", "dagdvid.datatypes.a.ops"),
    ("dagdvid.api.bind", "import dagdvid.objects", "dagdvid.objects"),
    ("dagdvid.repo.x", "import quart", "quart"),
    ("dagdvid.server", "from hypercorn.asyncio import serve", "hypercorn.asyncio"),
    ("dagdvid.api.x", "import httpx", "httpx"),
    ("dagdvid.remote.x", "import sqlite3", "sqlite3"),
    ("dagdvid.cli.x", "import os\nos.environ['A']", "os.environ"),
    ("dagdvid.cli.x", "from os import getenv", "os.environ"),
]


@pytest.mark.parametrize(("module", "source", "target"), BAD)
def test_bad_sources_are_found(module: str, source: str, target: str) -> None:
    found = violations(module, source)
    assert len(found) == 1
    assert found[0][0] == module
    assert found[0][1].startswith(target)


GOOD = [
    ("dagdvid.objects.x", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from dagdvid.repo import dag"),
    ("dagdvid.objects.x", "import typing\nif typing.TYPE_CHECKING:\n    import dagdvid.server"),
    ("dagdvid.objects.x", "from dagdvid.errors import Corrupt\nfrom dagdvid import errors\nimport sqlite3, numpy"),
    ("dagdvid.datatypes.a.ops", "from dagdvid.datatypes.a.keys import K\nfrom dagdvid.datatypes import settings"),
    ("dagdvid.config", "import os\nos.environ.get('A')"),
    ("dagdvid.api.x", "from dagdvid import __version__\nimport quart"),
    ("dagdvid.cli.x", "environ = {}\nenviron.get('A')"),
]


@pytest.mark.parametrize(("module", "source"), GOOD)
def test_good_sources_pass(module: str, source: str) -> None:
    assert violations(module, source) == []
