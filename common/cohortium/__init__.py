"""Cohortium: institutions train one differentially private generator together and release one synthetic data set.

import cohortium
release = cohortium.load_release("release/")
table = release.sample(1000, where={"result": "positive", "age": cohortium.between(40, 60)}, seed=7)  # a DataFrame
even = release.sample(1000, balance="result")                                # as many of every result
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from cohortium.conditions import Between, OtherThan


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


def between(
    lower: Any = None, upper: Any = None, inclusive: Literal["both", "left", "right", "neither"] = "both"
) -> Between:
    """A condition: a value from ``lower`` to ``upper``, numbers, moments or ordered categories; None is no end.

    inclusive: which ends belong to it, "both", "left", "right" or "neither".
    """
    from cohortium import conditions

    return conditions.Between(lower, upper, inclusive)


def other_than(*values: Any) -> OtherThan:
    """A condition: none of these values or ranges. A missing value is another one, unless None is named too."""
    from cohortium import conditions

    return conditions.OtherThan(values)


__all__ = ["between", "load_release", "other_than", "simulate"]
