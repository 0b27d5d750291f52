"""The shape of the code: few packages, none above what it imports, short functions, one noun a module."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from repository import ROOT, SOURCES

COMMON = ROOT / "common" / "cohortium"
PACKAGES, FLOORS, LINES, LINES_OF_A_FUNCTION = 20, 7, 400, 60
LONGER = {"dropout_tolerant.py"}  # one protocol, to be read beside its paper from top to bottom


def packages_imported(path: Path) -> set[str]:
    """The packages of ``cohortium`` that a file imports from, at its head or within a function."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    modules = {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}
    modules |= {
        f"cohortium.{a.name}"
        for n in nodes
        if isinstance(n, ast.ImportFrom) and n.module == "cohortium"
        for a in n.names
    }
    modules |= {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    return {parts[1] for m in modules if (parts := m.split("."))[0] == "cohortium" and len(parts) > 1} & packages()


@cache
def packages() -> frozenset[str]:
    """Folders and modules right below ``cohortium``."""
    return frozenset(p.stem for p in COMMON.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file())


@cache
def arrows() -> dict[str, set[str]]:
    """Of every package the others that it imports from."""
    files = {r: [*(COMMON / r).rglob("*.py"), *COMMON.glob(f"{r}.py")] for r in packages()}
    return {package: {to for f in found for to in packages_imported(f)} - {package} for package, found in files.items()}


def floor(package: str, above: tuple[str, ...] = ()) -> int:
    """One above the highest floor that a package imports from."""
    assert package not in above, f"a circle: {' -> '.join([*above, package])}"
    return 1 + max((floor(below, (*above, package)) for below in arrows()[package]), default=0)


def test_common_code_has_few_packages_on_few_floors_and_no_circle() -> None:
    assert len(packages()) <= PACKAGES
    assert max(map(floor, packages())) <= FLOORS
    assert floor("commands") == FLOORS and floor("errors") == 1  # the arrows are found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_functions_and_files_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f.name for f in found if (f.end_lineno or 0) - f.lineno >= LINES_OF_A_FUNCTION] == []
    assert path.name in LONGER or len(text.splitlines()) <= LINES
