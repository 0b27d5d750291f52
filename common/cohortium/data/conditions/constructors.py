"""Conditions that Python has no literal for: ranges (``between``) and exclusions (``other_than``)."""

from __future__ import annotations

from typing import Any

from cohortium.data.conditions.parsing import Between, Inclusive, OtherThan


def between(lower: Any = None, upper: Any = None, inclusive: Inclusive = "both") -> Between:
    """A condition: a value from ``lower`` to ``upper``, numbers, moments or ordered categories; None is no end.

    inclusive: which ends belong to it, "both", "left", "right" or "neither".

    >>> import cohortium
    >>> str(cohortium.between(40, 60))
    '40..60'
    >>> str(cohortium.between(upper=60, inclusive="neither"))
    '<60'
    """
    return Between(lower, upper, inclusive)


def other_than(*values: Any) -> OtherThan:
    """A condition: none of these values or ranges. A missing value is another one, unless None is named too.

    >>> import cohortium
    >>> str(cohortium.other_than("self", None))
    'other than self, missing'
    """
    return OtherThan(values)
