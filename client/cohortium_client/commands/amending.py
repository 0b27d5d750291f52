"""``cohortium ledger amend-clock``: a moment in an institution's ledger was wrong."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from cohortium.system.output import Json, guarded, print_json, print_status
from cohortium_client.commands.restoring import Site


def amend_clock(
    site: Site,
    today: Annotated[
        datetime,
        typer.Option(
            "--today", formats=["%Y-%m-%d"], help="What day it is, in UTC, by another clock than the machine's."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Record that the machine's clock once ran ahead: entries later than now no longer count as evidence of the time.

    Nothing that was spent comes back, and no study that had expired by those entries is answered again.
    """
    with guarded(as_json):
        from dataclasses import asdict

        from cohortium_client.custodian.amending import amend_clock as amended
        from cohortium_client.custodian.institution import load_institution

        opened = load_institution(site)
        done = amended(opened, today.date())
        if as_json:
            print_json({"ledger": str(opened.ledger_file), **asdict(done)})
            return
        print_status(
            f"{opened.ledger_file}: the moments of {len(done.entries)} entries, the latest {done.latest}, were wrong; signed "
            f"by {opened.identity.name!r}. What is spent stays spent."
        )
        for digest in done.ended:
            print_status(
                f"study {digest[:16]}… had expired by them, or nothing shows that it had not: it is no longer answered."
            )
        if done.ended:
            print_status(
                "Who wants one of these gives it a higher serial and a later expires, and everybody signs it anew."
            )
