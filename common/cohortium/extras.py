"""Packages that only some need: how whoever lacks them gets them, from wherever this program was installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement


def how_to_install(extra: str) -> str:
    """A sentence with the command that works from a checkout, too: it names the packages, and not the extra."""
    return f"Run python -m pip install {' '.join(repr(name) for name in _packages(extra))}, with the Python that runs this."


def _packages(extra: str) -> list[str]:
    try:
        declared = [Requirement(text) for text in requires("cohortium") or ()]
    except PackageNotFoundError:  # run from its sources, never installed
        declared = []
    found = [r for r in declared if r.marker is not None and not r.marker.evaluate({"extra": ""})]
    asked = [
        f"{r.name}{_bracketed(r.extras)}{r.specifier}"
        for r in found
        if r.marker and r.marker.evaluate({"extra": extra})
    ]
    return asked or [f"cohortium[{extra}]"]


def _bracketed(extras: set[str]) -> str:
    return f"[{','.join(sorted(extras))}]" if extras else ""
