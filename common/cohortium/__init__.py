"""Cohortium: institutions train one differentially private generator together and release one synthetic data set.

import cohortium
release = cohortium.load_release("release/")
table = release.sample(1000, where={"result": "positive"}, seed=7)      # a DataFrame
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any


def _api(name: str) -> Any:
    """A function that another part of the product provides: common code imports neither side."""
    (entry,) = entry_points(group="cohortium.api", name=name)
    return entry.load()


def load_release(path: str | Path, not_private: bool = False) -> Any:
    """The verified release in a folder: ``.sample(rows, where=..., seed=...)``, ``.synthetic``, ``.schema``, ``.study``.

    not_private: also one that was made without privacy, for research; otherwise it is refused with E_NOT_PRIVATE.
    """
    return _api("load_release")(path, not_private)


def simulate(*args: Any, **kwargs: Any) -> Any:
    """Run a whole federation in this process: ``simulate(study, tables) -> Release``; tables are DataFrames by institution."""
    return _api("simulate")(*args, **kwargs)


__all__ = ["load_release", "simulate"]
