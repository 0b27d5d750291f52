"""Which nodes belong to a study: those of the members that have signed it."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from cohortium.errors import MembershipError
from cohortium.study.study import Study
from cohortium_server.membership.federation import FILE, load_federation
from cohortium_server.membership.members import load_members


def pem(node: str) -> bytes:
    """A node's public key, in PEM as Flower keeps it, from OpenSSH's one line."""
    return load_ssh_public_key(node.encode()).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def nodes_of(folder: Path, study: Study) -> dict[bytes, str] | None:
    """The study's institutions by the public keys of their nodes, None where the folder is not a federation's with members.

    MembershipError E_MEMBER names an institution that is no member, or is one by another key.
    """
    if not (folder / FILE).is_file():
        return None
    members = load_members(load_federation(folder))
    for one in study.institutions:
        member = members.get(one.name)
        if member is None or member.key != one.key:
            what = "it is no member" if member is None else "it is a member by another key than the study's"
            fix = "Admit it (cohortium coordinator admit), or have the study name its key, then resume."
            raise MembershipError("E_MEMBER", one.name, what, fix)
    return {pem(members[name].node): name for name in study.institution_names}
