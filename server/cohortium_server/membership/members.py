"""Who is in a federation: applications that were admitted, and those that were revoked, each in a file of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cohortium.errors import MembershipError
from cohortium.federation.kit import root_digest
from cohortium.federation.membership import Application, dumps, load_application
from cohortium.system.files import write_whole
from cohortium.system.locks import alone_in
from cohortium_server.membership.federation import FILE, Federation
from cohortium_server.membership.presence import online

FIRST = 8  # digits of a fingerprint, in the name of a revoked application's file
PUBLIC = 0o644


@dataclass(frozen=True)
class Membership:
    """An institution's membership. application: the admitted one. online: None where it was not looked up."""

    institution: str
    state: Literal["member", "invited", "revoked"]
    application: Application | None = None
    online: bool | None = None


def load_members(federation: Federation) -> dict[str, Application]:
    """The admitted application of each member, by its name; MembershipError E_MEMBER if a file was touched.

    A member whose node key was revoked is left out, even if a crash has left its file.
    """
    out = {a.node for a in load_revoked(federation)}
    found = _applications(federation.members)
    for name, application in found.items():
        if name != application.institution:
            raise _refused(f"{name}.json", "it is another institution's", "Put members/ back from a backup.")
    return {name: a for name, a in found.items() if a.node not in out}


def load_revoked(federation: Federation) -> list[Application]:
    """Applications whose node keys never come back."""
    return list(_applications(federation.revoked).values())


def _applications(folder: Path) -> dict[str, Application]:
    """By the names of their files."""
    return {path.stem: load_application(path) for path in sorted(folder.glob("*.json"))}


def memberships(federation: Federation) -> list[Membership]:
    """Everybody who is or was invited, in the order of ``federation.toml``."""
    members = load_members(federation)
    gone = {a.institution for a in load_revoked(federation)}
    names, there = dict.fromkeys([*federation.institution_names, *members, *sorted(gone)]), online(federation.state)
    return [_membership(name, members.get(name), name in gone, there.get(name)) for name in names]


def _membership(name: str, application: Application | None, gone: bool, there: bool | None) -> Membership:
    if application is not None:
        return Membership(name, "member", application, there)
    return Membership(name, "revoked" if gone else "invited")


@dataclass(frozen=True)
class Admission:
    """replaced: the application that this one took the place of."""

    application: Application
    replaced: Application | None


def admit(federation: Federation, file: Path, typed: str | None) -> Admission:
    """Make the institution whose application is in ``file`` a member. Its former node key is revoked.

    MembershipError E_MEMBER gives the reason against it; nothing has changed then. ``typed``: the fingerprint that the
    institution read out by telephone.
    """
    application = load_application(file)
    _check_invited(federation, application, file.name)
    _check_fingerprint(application, typed, file.name)
    with alone_in(federation.members):  # of two who admit at once, the second sees whom the first has admitted
        return _admit(federation, application)


def _admit(federation: Federation, application: Application) -> Admission:
    members = load_members(federation)
    former = members.pop(application.institution, None)
    if former == application:
        return Admission(application, None)
    _check_keys(application, former, members, load_revoked(federation))
    if former is not None and former.node != application.node:
        _record(federation, former)
    write_whole(_file(federation, application.institution), dumps(application), PUBLIC)
    return Admission(application, former)


def revoke(federation: Federation, name: str) -> Application:
    """Revoke a member and return its application; MembershipError E_MEMBER if ``name`` is no member."""
    with alone_in(federation.members):
        members = load_members(federation)
        if name not in members:
            raise _refused(name, "it is no member", f"See who is: cohortium coordinator members {federation.folder}.")
        _record(federation, members[name])
        _file(federation, name).unlink()
        return members[name]


def _check_invited(federation: Federation, application: Application, where: str) -> None:
    root = root_digest(federation.root_certificate.read_bytes())
    if application.federation != federation.name or application.root != root:
        raise _refused(where, "it was made with another federation's join kit", "Send the institution its kit again.")
    if application.institution not in federation.institution_names:
        raise _refused(
            where,
            f"{application.institution!r} is not in {FILE}",
            f"Add it there as an [[institution]], then run: cohortium provision {FILE} --out {federation.folder}.",
        )


def _check_fingerprint(application: Application, typed: str | None, where: str) -> None:
    """The error does not show the right fingerprint: it must come from the institution."""
    if typed is None:
        fix = "Ask the institution for it by telephone, and pass what it reads out: --fingerprint ABCD-…"
        raise _refused(where, "nobody has compared its fingerprint", fix)
    if not application.has_fingerprint(typed):
        fix = "Listen again. If it still differs, somebody has changed the file: ask for it by another way."
        raise _refused(where, "its fingerprint is another than the one given", fix)


def _check_keys(
    application: Application, former: Application | None, others: dict[str, Application], revoked: list[Application]
) -> None:
    name = application.institution
    if any(a.node == application.node for a in revoked):
        fix = "Let the institution make a new one: cohortium institution join KIT.zip SITE --rotate-node-key."
        raise _refused(name, "its node key was revoked", fix)
    for other in others.values():
        if application.key == other.key or application.node == other.node:
            raise _refused(name, f"{other.institution!r} has the same key", "Let each institution make its own.")
    if former is not None and not application.follows(former.key):
        fix = "Ask whether the old key was lost; then revoke the institution, and admit it again."
        raise _refused(name, "its identity key is another, and the old one has not signed that", fix)


def _record(federation: Federation, application: Application) -> None:
    first = application.fingerprint.replace("-", "")[:FIRST]
    write_whole(federation.revoked / f"{application.institution}-{first}.json", dumps(application), PUBLIC)


def _file(federation: Federation, name: str) -> Path:
    return federation.members / f"{name}.json"


def _refused(where: str, what: str, fix: str) -> MembershipError:
    return MembershipError("E_MEMBER", where, what, fix)
