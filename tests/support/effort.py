"""How hard tests try: all their examples and draws with ``THOROUGH=1`` (``make thorough``, mutants), a part of them without."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import Phase

THOROUGH = bool(os.environ.get("THOROUGH"))
PART = 5  # of this many examples, the first
PHASES = tuple(Phase)[:-2] if os.environ.get("FIRST") else tuple(Phase)
"""What hypothesis does. With ``FIRST=1`` (mutants) it ends with the first example that fails, and neither shrinks nor explains it."""
Case = TypeVar("Case")


def examples(count: int) -> int:
    """How many examples hypothesis tries of ``count``: of few a few, for a law that tries none holds of nothing."""
    return count if THOROUGH else max(count // PART, min(count, 5))


def draws(thorough: int, fast: int) -> int:
    """How many draws a statistic is computed from; its test must reject wrong scales with either."""
    return thorough if THOROUGH else fast


def cases(all_of_them: Sequence[Case], every: int) -> list[Case]:
    """Of many combinations of parameters all with ``THOROUGH=1``, and each so many-th without: choose a number that meets all values."""
    return list(all_of_them) if THOROUGH else list(all_of_them[::every])
