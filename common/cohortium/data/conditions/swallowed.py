"""Conditions that the shell cut short: unquoted, ``age>=40`` arrives as ``age``, and output goes to a file named ``=40``."""

from __future__ import annotations

import re
from pathlib import Path

_SHOWN = 3
_NUMBER = re.compile(r"=?-?\d+(\.\d+)?")


def hint(column: str, folder: Path | None = None) -> str:
    """What to do about a condition that is a column's name alone; names the files that a shell seems to have made."""
    quoted = f"A shell takes > and < for its own: write it in quotes, such as --where '{column}>=40'"
    made = sorted(p.name for p in (folder or Path.cwd()).iterdir() if _is_redirection(p))
    if not made:
        return f"{quoted}."
    shown = ", ".join(repr(name) for name in made[:_SHOWN])
    return f"{quoted}. It seems to have written to {shown}; delete that."


def _is_redirection(path: Path) -> bool:
    """Whether a file is empty and named like what follows a comparison sign: made by a redirection."""
    return _NUMBER.fullmatch(path.name) is not None and path.is_file() and not path.stat().st_size
