"""Names that are valid file names on every system: a study allows more names for institutions than file systems do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}$")]
"""What an institution, a study or a federation may be called: files are called so, too."""


_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)  # Windows, whatever the ending


def is_fit(name: str) -> bool:
    """Whether Windows has no device of this name, and keeps its end."""
    return not _DEVICES.match(name) and not name.endswith((".", " "))


def unfit(names: Iterable[str]) -> str | None:
    """Why these names cannot be distinct files on every system; None where they can."""
    known: dict[str, str] = {}
    for name in names:
        if not is_fit(name):
            return f"Windows has no file that is named {name!r}"
        other = known.setdefault(name.casefold(), name)
        if other != name:
            return f"{other!r} and {name!r} are one file on Windows and macOS"
    return None
