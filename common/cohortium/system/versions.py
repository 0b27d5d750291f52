"""Versions of the software in use: for releases, for people, and for errors about versions that do not fit."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution

UNKNOWN = "unknown"
_NIGHTLY: Mapping[str, str] = {"flwr": "flwr-nightly"}  # what else a package may be distributed as


def version_of(name: str) -> str:
    """The version of the package ``name``, by its own module or its installation; "unknown" if neither has one.

    It never raises: a process does not end because a version has no name.
    """
    module = sys.modules.get(name.replace("-", "_"))
    version = None if module is None else vars(module).get("__version__")  # of a module that looks it up here, no call
    if isinstance(version, str) and version not in ("", UNKNOWN):
        return version
    found = (_installed(each) for each in (name, _NIGHTLY.get(name)) if each)
    return next((version for version in found if version), UNKNOWN)


def required(name: str, by: str = "cohortium") -> str | None:
    """The requirement of ``by`` on the package ``name``, as pip writes it; None where unknown (a plain checkout)."""
    from packaging.requirements import Requirement

    try:
        asked = distribution(by).requires or ()
    except PackageNotFoundError:
        return None
    wanted = (one for one in map(Requirement, asked) if one.name == name and one.marker is None)
    return next((str(one.specifier) for one in wanted), None)


def _installed(name: str) -> str | None:
    try:
        version = distribution(name).metadata["Version"]
    except (PackageNotFoundError, KeyError):
        return None
    return str(version) if version else None
