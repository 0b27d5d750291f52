"""Places where a test may stop the program.

A test sets ``reached`` to a function of the place's name, in its own process; nothing else can: no configuration and no
environment variable reaches it, so a program in use never stops here.
"""

from __future__ import annotations

from collections.abc import Callable

reached: Callable[[str], None] | None = None


def passed(name: str) -> None:
    """The program has come to the place ``name``."""
    if reached is not None:
        reached(name)
