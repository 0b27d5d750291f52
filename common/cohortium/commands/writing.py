"""Output files of commands: an existing one is overwritten only with --replace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.errors import ReleaseError

Replace = Annotated[bool, typer.Option("--replace", help="Write over the file that is there already.")]


def require_new(out: Path, replace: bool = False) -> None:
    """ReleaseError E_RELEASE_EXISTS where a file ``out`` is there and not ``replace``."""
    if out.is_file() and not replace:
        fix = "Choose another name, or pass --replace, which deletes its content."
        raise ReleaseError("E_RELEASE_EXISTS", out.name, "the file is there already", fix)
