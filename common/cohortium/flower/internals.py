"""Flower's private parts, taken by name and refused where a version of Flower has changed them.

Every private name that Cohortium uses is taken here, so that a process which needs one fails before it serves anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from cohortium.errors import WireError
from cohortium.flower_names import MODULE, Part
from cohortium.system.versions import required, version_of


def private(part: Part) -> Any:
    """The part's module, which has all of its names; WireError E_FLOWER otherwise."""
    try:
        module = import_module(part.module)
    except ImportError:
        raise changed(part.module) from None
    for name in part.names:
        if not _has(module, name):
            raise changed(f"{part.module}.{name}")
    return module


def _has(module: object, name: str) -> bool:
    """Whether the module has a name, or a name of a name."""
    missing = object()
    found = module
    for step in name.split("."):
        found = getattr(found, step, missing)
    return found is not missing


def require_allowed(parts: Sequence[Part]) -> str:
    """Which Flower there is; WireError E_FLOWER unless the dependencies allow it, and it has every private name of ``parts``.

    A nightly build or a pre-release counts as what it comes before. Where no allowed range is declared, or which Flower
    this is, its names alone decide.
    """
    found, allowed = version_of(MODULE), required(MODULE)
    if allowed is not None and not _within(found, allowed):
        fix = f"Install one: pip install '{MODULE}{allowed}'."
        raise WireError("E_FLOWER", f"Flower {found}", f"allowed are {allowed}", fix)
    for part in parts:
        private(part)
    return f"{found}, with the {sum(len(part.names) for part in parts)} private names that are used here"


def _within(found: str, allowed: str) -> bool:
    try:
        return SpecifierSet(allowed).contains(Version(found), prereleases=True)
    except InvalidVersion:  # unknown, or a build of somebody's own
        return True


def changed(what: str) -> WireError:
    fix = "Install a version of Flower that cohortium's dependencies allow."
    return WireError("E_FLOWER", f"Flower {version_of(MODULE)}", f"it has changed {what}, which is needed here", fix)
