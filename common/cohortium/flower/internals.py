"""Flower's private parts, taken by name and refused where a version of Flower has changed them.

Every private name that Cohortium uses is taken here, so that a process which needs one fails before it serves anything.
"""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from cohortium.errors import WireError


def private(module: str, *names: str) -> Any:
    """The module, which has all of ``names``; WireError E_FLOWER otherwise."""
    try:
        found = import_module(module)
    except ImportError:
        raise changed(module) from None
    for name in names:
        if not hasattr(found, name):
            raise changed(f"{module}.{name}")
    return found


def require_allowed(folder: Path) -> str:
    """Which Flower there is; WireError E_FLOWER unless the dependencies allow it, and it has every private name that the
    modules in ``folder`` and here take by name.
    """
    wanted = next(r for r in map(Requirement, requires("cohortium") or ()) if r.name == "flwr")
    if not wanted.specifier.contains(found := version("flwr")):
        fix = f"Install one: pip install 'flwr{wanted.specifier}'."
        raise WireError("E_FLOWER", f"Flower {found}", f"allowed are {wanted.specifier}", fix)
    paths = sorted([*folder.glob("*.py"), *Path(__file__).parent.glob("*.py")])
    calls = [call for path in paths for call in _taken(path.read_text(encoding="utf-8"))]
    for module, *names in calls:
        private(module, *names)
    return f"{found}, with the {sum(len(names) for _, *names in calls)} private names that are used here"


def _taken(source: str) -> list[list[str]]:
    """The words of every ``private(...)`` of a module that has nothing but words in it."""
    calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and ast.unparse(n.func) == "private"]
    words = [[a.value for a in c.args if isinstance(a, ast.Constant) and isinstance(a.value, str)] for c in calls]
    return [of for of, call in zip(words, calls, strict=True) if of and len(of) == len(call.args)]


def changed(what: str) -> WireError:
    fix = "Install a version of Flower that cohortium's dependencies allow."
    return WireError("E_FLOWER", f"Flower {version('flwr')}", f"it has changed {what}, which is needed here", fix)
