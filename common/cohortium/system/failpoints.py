"""Failpoints: places where a test may stop the program.

A test sets ``reached``, in its own process, to a function of the failpoint's name. No configuration and no environment
variable can, so a deployed program never stops here.
"""

from __future__ import annotations

from collections.abc import Callable

reached: Callable[[str], None] | None = None


def passed(name: str) -> None:
    """The program has reached the failpoint ``name``."""
    if reached is not None:
        reached(name)
