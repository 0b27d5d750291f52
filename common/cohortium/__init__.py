"""Cohortium: institutions train one differentially private generator together and release one synthetic data set.

    import cohortium

    draft = cohortium.draft_schema(table, targets="result")            # read draft.notes: a person decides what is public
    release = cohortium.fit(table, draft.schema.reviewed(), epsilon=1)  # a DataFrame of any library, a path, or tables by institution
    rows = release.sample(1000, {"age": cohortium.between(40, 60)})    # a DataFrame, exactly 1000 rows
    answer = release.query({"result": "positive"})                     # an estimate for the real table, with its interval
    filled = release.impute(table)                                     # blanks filled in from the model
    release.report()                                                   # the public report

Every name is loaded lazily: ``import cohortium`` takes no longer than starting Python.
"""

from __future__ import annotations

from typing import Any

_HERE = {
    "Draft": "cohortium.drafting.draft",
    "Schema": "cohortium.data.schema",
    "Study": "cohortium.study.study",
    "CohortiumError": "cohortium.errors",
    "between": "cohortium.data.conditions.constructors",
    "draft_schema": "cohortium.drafting.proposals",
    "load_schema": "cohortium.data.schema",
    "load_study": "cohortium.study.study",
    "other_than": "cohortium.data.conditions.constructors",
}
"""The public names that common code provides, and their modules."""
_ELSEWHERE = frozenset({"Answer", "Ledgers", "Release", "compare", "fit", "load_release", "simulate"})
"""The public names that other packages provide through entry points: common code imports neither side."""

__all__ = [
    "Answer",
    "CohortiumError",
    "Draft",
    "Ledgers",
    "Release",
    "Schema",
    "Study",
    "between",
    "compare",
    "draft_schema",
    "fit",
    "load_release",
    "load_schema",
    "load_study",
    "other_than",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """A public name, loaded when it is first asked for (PEP 562)."""
    if name == "__version__":
        from cohortium.system.versions import version_of

        found: Any = version_of("cohortium")
    elif name in _HERE:
        from importlib import import_module

        found = getattr(import_module(_HERE[name]), name)
    elif name in _ELSEWHERE:
        from importlib.metadata import entry_points

        (entry,) = entry_points(group="cohortium.api", name=name)
        found = entry.load()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
