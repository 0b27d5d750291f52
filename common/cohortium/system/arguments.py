"""Arguments of the Python API: a wrong type or value is one readable error, never a traceback from inside."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cohortium.errors import InputError
from cohortium.system.nearest import offered


def refused(name: str, what: str, fix: str) -> InputError:
    return InputError("E_ARGUMENT", name, what, fix)


def described(value: object) -> str:
    """What something is, as its author would call it."""
    if value is None:
        return "None"
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def whole(name: str, value: Any, least: int = 0) -> int:
    """``value`` as a whole number of at least ``least``; InputError E_ARGUMENT where it is none.

    >>> whole("rows", 10)
    10
    >>> whole("rows", "10")
    Traceback (most recent call last):
    ...
    cohortium.errors.InputError: E_ARGUMENT: rows: it is a str, not a whole number. Pass a whole number of 0 or more.
    """
    fix = f"Pass a whole number of {least} or more."
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise refused(name, f"it is {described(value)}, not a whole number", fix)
    if value < least:
        raise refused(name, f"it is below {least}", fix)
    return int(value)


def number(name: str, value: Any) -> float:
    """``value`` as a finite number."""
    fix = f"Pass a number, such as {name}=1.0."
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise refused(name, f"it is {described(value)}, not a number", fix)
    if not math.isfinite(value):
        raise refused(name, "it is not finite", fix)
    return float(value)


def one_of(name: str, value: Any, there: Iterable[str]) -> str:
    """``value`` where it is one of the texts that there are."""
    known = sorted(there)
    if value not in known:
        given = repr(value) if isinstance(value, str) else described(value)
        raise refused(name, f"there is no {given}", offered(value, known))
    return str(value)


def path(name: str, value: Any) -> Path:
    """``value`` as the path of a file or folder."""
    if not isinstance(value, str | os.PathLike):
        raise refused(name, f"it is {described(value)}, not a path", f'Pass {name}="name".')
    return Path(value)


def names(name: str, value: Any) -> tuple[str, ...]:
    """One name or several, as a tuple.

    >>> names("targets", "result")
    ('result',)
    """
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Iterable):
        found = tuple(value)
        if all(isinstance(one, str) for one in found):
            return found
    raise refused(name, f"it is {described(value)}, not a name or a list of names", f'Pass {name}=["a", "b"].')
