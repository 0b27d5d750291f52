"""Joining a federation: a kit and an institution's folder give a relay's folder with a key of its own and an application.

Joining again with the same kit changes nothing; a new key is made only on request.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import tomli_w
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.errors import MembershipError
from cohortium.federation.kit import Kit
from cohortium.federation.membership import Application, apply, dumps, load_succession, new_node_key, node_text, succeed
from cohortium.system.files import write_whole
from cohortium.system.keys import private_pem
from cohortium.system.locks import alone_in
from cohortium_client.custodian.institution import KEY, Institution, load_institution
from cohortium_client.relay import FILE, Relay, RelayFile, load_node_key, read_relay, relay_folder

SUCCESSION = "succession.json"
PUBLIC, SECRET = 0o644, 0o600


@dataclass(frozen=True)
class Joined:
    relay: Relay
    application: Application


def join(
    kit: Kit, institution: Institution, folder: Path, rotate_node_key: bool = False, rotate_identity_key: bool = False
) -> Joined:
    """Make the relay's folder ``folder``, or what it lacks. MembershipError E_KIT if kit or folder belong to another."""
    _relay(kit, institution, folder)  # raises before anything is made
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone_in(folder):
        return _join(kit, institution, folder, rotate_node_key, rotate_identity_key)


def _join(kit: Kit, institution: Institution, folder: Path, rotate_node_key: bool, rotate_identity_key: bool) -> Joined:
    relay = _relay(kit, institution, folder)
    if not relay.root.exists():
        write_whole(relay.root, kit.root, PUBLIC)
    if rotate_node_key or not relay.key.exists():
        _write_node_key(relay.key)
    if rotate_identity_key:
        institution = rotate(institution)
    application = _application(kit, institution, load_node_key(relay.key))
    write_whole(relay.application, dumps(application), PUBLIC)
    if not (folder / FILE).exists():
        _write_file(relay)
    return Joined(relay, application)


def _relay(kit: Kit, institution: Institution, folder: Path) -> Relay:
    """The relay's folder, as it exists or will be made."""
    if kit.institution != institution.identity.name:
        what = f"it is for {kit.institution!r}, and the folder is that of {institution.identity.name!r}"
        raise MembershipError("E_KIT", "kit", what, "Use the kit that was made for this institution.")
    file = RelayFile(
        federation=kit.federation,
        institution=kit.institution,
        address=kit.address,
        socket=_socket(institution, folder),
        proxy=None if folder.absolute() == relay_folder(institution.folder.absolute()) else institution.file.proxy,
    )
    relay = read_relay(folder) if (folder / FILE).exists() else Relay(folder, file)
    another = relay.root.exists() and relay.root.read_bytes() != kit.root
    if another or (relay.federation, relay.institution) != (kit.federation, kit.institution):
        what = "the relay's folder belongs to another federation or institution"
        raise MembershipError("E_KIT", folder.name, what, "Name another folder with --relay.")
    return relay


def _write_file(relay: Relay) -> None:
    """A proxy's address may hold a password."""
    content = {k: v for k, v in asdict(relay.file).items() if v is not None} | {"address": str(relay.address)}
    write_whole(relay.folder / FILE, tomli_w.dumps(content).encode(), PUBLIC if relay.file.proxy is None else SECRET)


def _socket(institution: Institution, folder: Path) -> str:
    """Relative where the relay's folder is within the institution's, so that both can be moved together."""
    socket, site, relay = institution.socket.absolute(), institution.folder.absolute(), folder.absolute()
    return os.path.relpath(socket, relay) if relay.is_relative_to(site) else str(socket)


def _write_node_key(path: Path) -> None:
    openssh = serialization.PrivateFormat.OpenSSH
    key = new_node_key().private_bytes(serialization.Encoding.PEM, openssh, serialization.NoEncryption())
    write_whole(path, key)


def _application(kit: Kit, institution: Institution, node: ec.EllipticCurvePrivateKey) -> Application:
    identity = institution.identity
    succession = load_succession(institution.folder / SUCCESSION, identity.name, identity.public)
    return apply(kit.federation, kit.root_digest, identity.name, identity.key, node_text(node), succession)


def rotate(institution: Institution) -> Institution:
    """A new identity key, with the old key's signature that it follows; the signature is written first, so that no crash loses it."""
    key = Ed25519PrivateKey.generate()
    succession = succeed(institution.identity.name, institution.identity.key, key)
    write_whole(institution.folder / SUCCESSION, dumps(succession), PUBLIC)
    write_whole(institution.folder / KEY, private_pem(key))
    return load_institution(institution.folder)
