"""Flower's private parts, taken by name and refused where a version of Flower has changed them.

Every private name that Cohortium uses is taken here, so that a process which needs one fails before it serves anything.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

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


def changed(what: str) -> WireError:
    fix = "Install a version of Flower that cohortium's dependencies allow."
    return WireError("E_FLOWER", f"Flower {version('flwr')}", f"it has changed {what}, which is needed here", fix)
