"""How hard tests try: all their examples and draws with ``THOROUGH=1`` (``make thorough``, mutants), a part of them without."""

from __future__ import annotations

import os

THOROUGH = bool(os.environ.get("THOROUGH"))
PART = 5  # of this many examples, the first


def examples(count: int) -> int:
    """How many examples hypothesis tries of ``count``: of few a few, for a law that tries none holds of nothing."""
    return count if THOROUGH else max(count // PART, min(count, 5))


def draws(thorough: int, fast: int) -> int:
    """How many draws a statistic is computed from; its test must reject wrong scales with either."""
    return thorough if THOROUGH else fast
