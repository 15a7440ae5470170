"""What holds for the whole tree: sizes of modules, packages that say what they are, no promises, no machine's paths."""

from __future__ import annotations

import ast
import re
import statistics
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
MEDIAN_LINES, MOST_LINES = 200, 800

INSTALLED = sorted([*(ROOT / "dagdvid").rglob("*.py"), *(ROOT / "api").rglob("*.py")])
PYTHON = sorted([*INSTALLED, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
TEXTS = sorted(
    [
        *PYTHON,
        *ROOT.glob("*.md"),
        *ROOT.glob("*.toml"),
        *(ROOT / "design").rglob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "benchmarks").rglob("*.md"),
        *(path for path in (ROOT / ".ci").iterdir() if path.is_file()),
    ]
)
PACKAGES = sorted({path.parent for path in INSTALLED})

# Both patterns are written so that they do not find themselves.
PROMISE = re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X|NotImplemented[E]rror)\b")
MACHINE_PATH = re.compile(r"(?<![\w.}<])/(work|farm|home|root|Users)[/]")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def module_name(folder: Path) -> str:
    """The installed name of a package folder; the folder api/ is `dagdvid.api`."""
    parts = folder.relative_to(ROOT).parts
    return ".".join(parts if parts[0] == "dagdvid" else ("dagdvid", *parts))


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_no_module_is_too_long(path: Path) -> None:
    assert lines(path) <= MOST_LINES


def test_modules_are_short() -> None:
    """Package files that hold a docstring alone do not count: they would flatter the median."""
    assert statistics.median(n for n in map(lines, INSTALLED) if n > 5) <= MEDIAN_LINES


@pytest.mark.parametrize("folder", PACKAGES, ids=module_name)
def test_packages_say_what_lives_in_them(folder: Path) -> None:
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
    assert docstring is not None
    assert len(docstring.split()) >= 4, "one sentence that says what lives there"


def test_wheels_hold_every_package() -> None:
    """An editable install finds a folder that the list forgets; a wheel lacks it."""
    setuptools = pyproject()["tool"]["setuptools"]
    assert sorted(setuptools["packages"]) == sorted(map(module_name, PACKAGES))
    assert setuptools["package-dir"] == {"dagdvid.api": "api"}


def test_version_stands_once() -> None:
    """The version of the package, of its metadata and of the newest section of CHANGELOG.md."""
    version = pyproject()["project"]["version"]
    assert f'__version__ = "{version}"' in (ROOT / "dagdvid" / "__init__.py").read_text("utf-8")
    newest = re.search(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == version


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_texts_hold_no_promises_and_no_machine_paths(path: Path) -> None:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        assert not PROMISE.search(line), f"{name(path)}:{number} promises what is not there"
        assert not MACHINE_PATH.search(line), f"{name(path)}:{number} names a path of one machine"


@pytest.mark.parametrize("line", ["# TO" + "DO: later", "raise NotImplemented" + "Error", "FIX" + "ME", "# XX" + "X"])
def test_promises_are_found(line: str) -> None:
    assert PROMISE.search(line)


@pytest.mark.parametrize("line", ["/wo" + "rk/main/x", 'open("/ho' + 'me/ann/x")', "see /ro" + "ot/.cache"])
def test_machine_paths_are_found(line: str) -> None:
    assert MACHINE_PATH.search(line)


@pytest.mark.parametrize("line", ["work/main", "../work/x", "http://host/home/x", "/api/root/", "{base}/home/"])
def test_other_paths_are_let_through(line: str) -> None:
    assert not MACHINE_PATH.search(line)


def test_test_modules_have_names_of_their_own():
    """pytest imports them by their bare names."""
    names = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert names == sorted({*names})


def test_clauses_have_numbers_of_their_own():
    numbers = re.findall(r"^(\d+\.\d+)\. ", (ROOT / "SPEC.md").read_text(), re.MULTILINE)
    assert sorted(numbers) == sorted({*numbers})
