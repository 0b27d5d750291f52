"""``cohortium coordinator check``: the coordinator's preflight."""

from __future__ import annotations

from cohortium.system.output import Json, guarded, print_checks
from cohortium.system.platforms import require_serving
from cohortium_server.commands.membership import Fed


def check(federation: Fed, as_json: Json = False) -> None:
    """Look at everything a federation needs, before it is served or meanwhile; each line that fails ends with what to do."""
    with guarded(as_json):
        require_serving("coordinator check")
        from cohortium_server.preflight import preflight

        print_checks(preflight(federation), as_json)
