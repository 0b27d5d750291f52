"""``cohortium provision``, and ``cohortium coordinator admit``, ``revoke`` and ``members``: who is in a federation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.system.output import Json, console, guarded, print_json, print_result, print_status

if TYPE_CHECKING:
    from cohortium_server.membership.members import Membership
    from cohortium_server.membership.provisioning import Provisioned

Fed = Annotated[Path, typer.Argument(metavar="FED", help="The coordinator's folder, as cohortium provision made it.")]


def provision(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A federation.toml: its name, address, institutions.")],
    out: Annotated[Path, typer.Option("--out", metavar="FED", help="The coordinator's folder.")],
    renew: Annotated[bool, typer.Option("--renew", help="Also a new key and certificate for the server.")] = False,
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="FILE", help="The CA's key, where it is kept off this machine.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a coordinator's folder: CA, certificate, secrets, a join kit an institution. What is there already stays."""
    with guarded(as_json):
        from cohortium_server.membership.provisioning import provision as provisioned

        made = provisioned(file, out, renew, ca)
        if as_json:
            kits = {name: str(made.federation.kits / f"{name}.zip") for name in made.kits}
            print_json({"federation": made.federation.name, "kits": kits, "until": made.until.isoformat()})
        else:
            _print_result(made)


def _print_result(made: Provisioned) -> None:
    federation = made.federation
    print_status(f"{federation.folder}: federation {federation.name!r} at {federation.address}")
    print_status(f"the server's certificate is valid until {made.until:%Y-%m-%d}")
    if federation.root_key.exists():
        print_status(f"{federation.root_key} is needed only to renew it: best kept off this machine")
    for name in made.kits:
        print_result(str(federation.kits / f"{name}.zip"))
    if made.kits:
        print_status("send each institution its kit; no secret is in it")


def admit(
    federation: Fed,
    application: Annotated[Path, typer.Argument(metavar="FILE", help="The application.json that it sent.")],
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", help="What the institution reads out by telephone.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Let an institution in, or in with new keys. Its former node key is revoked; nobody else's keys are touched."""
    with guarded(as_json):
        from cohortium_server.membership.federation import load_federation
        from cohortium_server.membership.members import admit as admitted

        made = admitted(load_federation(federation), application, fingerprint)
        name = made.application.institution
        if as_json:
            replaced = made.replaced and made.replaced.fingerprint
            print_json({"institution": name, "fingerprint": made.application.fingerprint, "replaced": replaced})
        else:
            print_status(f"{name!r} is a member" + (", with new keys" if made.replaced else ""))


def revoke(
    federation: Fed,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The member that is to be one no longer.")],
    as_json: Json = False,
) -> None:
    """Let an institution out at once. What it answered stays; its node key never comes back."""
    with guarded(as_json):
        from cohortium_server.membership.federation import load_federation
        from cohortium_server.membership.members import revoke as revoked

        fingerprint = revoked(load_federation(federation), name).fingerprint
        if as_json:
            print_json({"institution": name, "revoked": fingerprint})
        else:
            print_status(f"{name!r} is no member any longer")


def members(
    federation: Fed,
    roster: Annotated[
        bool, typer.Option("--roster", help="The members' blocks for a study.toml, one an institution.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show who is in the federation, by which keys, and who is invited."""
    with guarded(as_json):
        from cohortium_server.membership.federation import load_federation
        from cohortium_server.membership.members import memberships

        opened = load_federation(federation)
        found = memberships(opened)
        if as_json:
            print_json({"federation": opened.name, "institutions": [_document(s) for s in found]})
        elif roster:
            print_result(*"\n".join(_block(s) for s in found if s.application).splitlines())
        else:
            _print(found)


def _document(membership: Membership) -> dict[str, Any]:
    of = membership.application
    keys = {"fingerprint": of and of.fingerprint, "key": of and of.key, "node": of and of.node}
    return {"institution": membership.institution, "state": membership.state, **keys, "online": membership.online}


def _block(membership: Membership) -> str:
    import tomli_w

    key = membership.application.key if membership.application else ""
    return tomli_w.dumps({"institution": [{"name": membership.institution, "key": key}]})


def _print(found: list[Membership]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE)
    for heading in ("institution", "state", "online", "fingerprint"):
        table.add_column(heading, no_wrap=heading != "institution", overflow="fold")
    words = {None: "not known", True: "yes", False: "no"}
    for s in found:
        of = s.application
        table.add_row(s.institution, s.state, words[s.online] if of else "", of.fingerprint if of else "")
    console().print(table)
