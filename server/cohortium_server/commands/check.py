"""``cohortium coordinator check``: the coordinator's preflight."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.commands.output import guarded, tell_checks


def check(
    federation: Annotated[
        Path, typer.Argument(metavar="FED", help="The coordinator's folder, as cohortium provision made it.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Look at everything a federation needs, before it is served or meanwhile; each line that fails ends with what to do."""
    with guarded(as_json):
        from cohortium_server.preflight import preflight

        tell_checks(preflight(federation), as_json)
