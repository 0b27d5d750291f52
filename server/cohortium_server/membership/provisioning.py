"""Makes the coordinator's folder: the CA, the server's certificate, secrets, and a join kit for each institution.

Existing files stay byte for byte as they are: an interrupted run is completed by the next one, and an institution invited later
gets its kit without any effect on the others.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from cohortium.errors import MembershipError
from cohortium.federation.kit import Kit, pack
from cohortium.system.filenames import unfit
from cohortium.system.files import write_new, write_whole
from cohortium.system.keys import private_pem
from cohortium.system.locks import IN_FOLDER, alone_in
from cohortium_server.membership import authority
from cohortium_server.membership.federation import FILE, Federation, read_federation
from cohortium_server.membership.members import load_members

PUBLIC = 0o644


@dataclass(frozen=True)
class Provisioned:
    """federation: the folder. kits: the institutions whose kit is new. until: how long the server's certificate is valid."""

    federation: Federation
    kits: tuple[str, ...]
    until: datetime


def provision(file: Path, folder: Path, renew: bool = False, ca_key: Path | None = None) -> Provisioned:
    """Make in ``folder`` whatever ``file`` asks for and does not exist yet; ``renew``: also a new server key and certificate.

    ca_key: where the CA's key is, if not in the folder. MembershipError E_FEDERATION, E_CERTIFICATE or E_MEMBER, and
    SecretError, say what is in the way; existing files are then unchanged.
    """
    federation = read_federation(file, folder)
    _check_fits(federation, file)
    _check_names(federation)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone_in(folder):
        _check_fits(federation, file)  # another process may have made it just now
        return _provision(federation, file, renew, ca_key)


def _provision(federation: Federation, file: Path, renew: bool, ca_key: Path | None) -> Provisioned:
    folder, now = federation.folder, datetime.now(UTC)
    root = _root(federation, now)
    for made in (federation.kits, federation.members, federation.revoked, federation.secrets, federation.state,
                 federation.runs):  # fmt: skip
        made.mkdir(mode=0o700, exist_ok=True)
    if renew or not federation.server_certificate.exists():
        _certify(federation, root, ca_key or federation.root_key, now)
    for secret in (federation.executor_secret, federation.control_secret):
        if not secret.exists():
            write_new(secret, secrets.token_hex(32).encode())
    kits = tuple(name for name in federation.institution_names if _write_kit(federation, name))
    if not (folder / FILE).exists() or (folder / FILE).read_bytes() != file.read_bytes():
        write_whole(folder / FILE, file.read_bytes(), PUBLIC)
    return Provisioned(federation, kits, authority.load_certificate(federation.server_certificate).not_valid_after_utc)


def _check_fits(federation: Federation, file: Path) -> None:
    """The folder must be empty or this federation's own."""
    if federation.root_certificate.exists():
        root = authority.load_certificate(federation.root_certificate)
        if authority.name_of(root) != federation.name:
            raise _wrong("name", f"the folder is the federation {authority.name_of(root)!r}'s", "Name another folder.")
        if not authority.may_sign_for(root, federation.address.host):
            raise _wrong("address", "the CA in the folder is for another host", "Name another folder, with new kits.")
        _check_members(federation)
        return
    begun = {federation.root_key.parent, federation.folder / IN_FOLDER} | {
        p for p in (federation.folder / FILE,) if p.exists() and p.samefile(file)
    }
    if federation.folder.exists() and set(federation.folder.iterdir()) - begun:
        raise _wrong("--out", "the folder holds something else, and no CA", "Name another, or put ca/root.crt back.")


def _check_names(federation: Federation) -> None:
    """Names become file names, on any system. A federation that has such names already keeps them."""
    names = federation.institution_names
    if not unfit(n for n in names if (federation.kits / f"{n}.zip").exists()) and (problem := unfit(names)):
        raise _wrong("institution", problem, "Give it another name.")


def _check_members(federation: Federation) -> None:
    for name in load_members(federation):
        if name not in federation.institution_names:
            fix = f"Revoke it first: cohortium coordinator revoke {federation.folder} '{name}'."
            raise MembershipError("E_MEMBER", FILE, f"it leaves out {name!r}, which is a member", fix)


def _root(federation: Federation, now: datetime) -> x509.Certificate:
    if not federation.root_certificate.exists():
        for folder in (federation.folder, federation.root_key.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not federation.root_key.exists():
            write_new(federation.root_key, private_pem(authority.new_private_key()))
        key = authority.load_private_key(federation.root_key, "Delete the folder, and begin again.")
        made = authority.root_certificate(federation.name, federation.address.host, key, now)
        write_whole(federation.root_certificate, authority.pem(made), PUBLIC)
    return authority.load_certificate(federation.root_certificate)


def _certify(federation: Federation, root: x509.Certificate, ca_key: Path, now: datetime) -> None:
    """A new key and certificate. A crash between the two files leaves a pair that ``coordinator check`` reports."""
    key = authority.new_private_key()
    signed = authority.server_certificate(
        root,
        authority.load_private_key(ca_key, authority.BRING_BACK),
        federation.address.host,
        key.public_key(),
        now,
        federation.days,
    )
    write_whole(federation.server_key, private_pem(key))
    write_whole(federation.server_certificate, authority.pem(signed), PUBLIC)


def _write_kit(federation: Federation, name: str) -> bool:
    """Write an institution's kit if there is none; whether it was written."""
    path = federation.kits / f"{name}.zip"
    if path.exists():
        return False
    root = federation.root_certificate.read_bytes()
    kit = Kit(
        federation=federation.name,
        address=federation.address,
        institution=name,
        root=root,
        study=template(federation.institution_names),
    )
    write_whole(path, pack(kit), PUBLIC)
    return True


def template(institutions: tuple[str, ...]) -> str:
    """A ``study.toml`` to begin from: the defaults, and the institutions."""
    roster = "".join(f'\n[[institution]]\nname = "{name}"\nkey = ""\n' for name in institutions)
    return f"""# A study to begin from. Write schema.toml beside it; keys: cohortium coordinator members FED --roster

[study]
name = "my-study"
purpose = "what the release is for"
# expires = "2030-12-31"
serial = 1
edition = 2  # of the rules by which queries follow from the study; without it, those of the first

[privacy]
epsilon = 3.0
delta = 1e-6
rows_per_person = 1

[generator]
kind = "sweep"

[release]
# rows = 10000   # by default the noised number of rows of all institutions together
{roster}"""


def _wrong(place: str, what: str, fix: str) -> MembershipError:
    where = place if place.startswith("--") else f"{FILE}, federation.{place}"
    return MembershipError("E_FEDERATION", where, what, fix)
