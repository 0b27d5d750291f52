"""The relay's folder: what the process between the network and the custodian needs, and nothing else of the institution.

relay.toml         federation = "covid-clinics"
                   institution = "emergency"
                   address = "coordinator.example.org:8443"
                   socket = "../custodian.sock"    # the custodian's; relative to this file, or absolute
                   proxy = "http://proxy.example.org:3128"   # by default institution.toml's, or the environment's; or "none"
root.crt           the CA's certificate: identifies the coordinator
node.key           its own key: identifies the relay
application.json   what the coordinator admits; public
flower/            what Flower remembers

It may belong to another user than the custodian's, and lie anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from cohortium.errors import InputError, SecretError
from cohortium.system.address import Address, AddressField
from cohortium.system.documents import read_toml
from cohortium.system.filenames import Name
from cohortium.system.platforms import others_may
from cohortium.system.problems import first_problem
from cohortium.system.proxies import Proxy, check_setting, read_setting, way_to

FILE, SITE_FILE = "relay.toml", "institution.toml"
_JOIN = "Join the federation: cohortium institution join KIT.zip SITE."
_ROTATE = "Make a new one: cohortium institution join KIT.zip SITE --rotate-node-key."


@dataclass(frozen=True, kw_only=True)
class RelayFile:
    """The content of ``relay.toml``."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    federation: Name
    institution: Name
    address: AddressField
    socket: Annotated[str, Field(min_length=1)]
    proxy: str | None = None

    def __post_init__(self) -> None:
        check_setting(self.proxy, f"{FILE}, proxy")


@dataclass(frozen=True)
class Relay:
    """A relay's folder: the institution it serves, the coordinator it connects to, and where its files are."""

    folder: Path
    file: RelayFile

    @property
    def federation(self) -> str:
        return self.file.federation

    @property
    def institution(self) -> str:
        return self.file.institution

    @property
    def address(self) -> Address:
        """The coordinator's."""
        return self.file.address

    @property
    def socket(self) -> Path:
        """The custodian's, as an absolute path."""
        return (self.folder / self.file.socket).absolute()

    def proxy(self) -> Proxy | None:
        """The proxy on the way to the coordinator; InputError E_PROXY, or SecretError E_SECRET if others can read its password.

        Where relay.toml sets none, institution.toml does, if the relay's folder is inside the institution's.
        """
        origin, setting = self.folder / FILE, self.file.proxy
        if setting is None and self.folder.absolute() == relay_folder(self.folder.absolute().parent):
            origin = self.folder.absolute().parent / SITE_FILE
            setting = read_setting(origin)
        return way_to(self.address, setting, origin)

    @property
    def root(self) -> Path:
        """The certificate by which the coordinator is trusted."""
        return self.folder / "root.crt"

    @property
    def key(self) -> Path:
        """The node's private key, in OpenSSH's format."""
        return self.folder / "node.key"

    @property
    def application(self) -> Path:
        return self.folder / "application.json"

    @property
    def home(self) -> Path:
        """Flower's own files."""
        return self.folder / "flower"


def relay_folder(site: Path) -> Path:
    """Where the relay of an institution's folder is, unless it was put elsewhere for another user."""
    return site / "relay"


def has_joined(folder: Path) -> bool:
    """Whether ``folder`` is a relay's. PermissionError if that cannot be seen from here."""
    return (folder / FILE).is_file()


def load_relay(folder: Path) -> Relay:
    """Read a relay's folder; InputError E_INSTITUTION names what is missing or wrong."""
    relay = read_relay(folder)
    for path in (relay.root, relay.key):
        if not path.is_file():
            raise InputError("E_INSTITUTION", path.name, "it does not lie in the relay's folder", _JOIN)
    return relay


def read_relay(folder: Path) -> Relay:
    """As ``load_relay``, whether or not other files are missing."""
    if not has_joined(folder):
        raise InputError("E_INSTITUTION", folder.name, "it is no relay's folder", _JOIN)
    try:
        return Relay(folder, TypeAdapter(RelayFile).validate_python(read_toml(folder / FILE)))
    except ValidationError as error:
        place, what = first_problem(error, RelayFile)
        raise InputError("E_INSTITUTION", f"{FILE}, {place}", what, "Correct the file.") from None


def load_node_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The relay's key; SecretError E_SECRET if everybody may read it, or it is something else.

    A group may read it: where custodian and relay are two users, the one who joins hands the folder to the other.
    """
    if others_may(path.stat().st_mode, 0o007):
        raise SecretError("E_SECRET", path.name, "everybody may read this private key", f"chmod 600 it. {_ROTATE}")
    try:
        key = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    except ValueError:
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise SecretError("E_SECRET", path.name, "it is not a P-384 private key in OpenSSH's format", _ROTATE)
    return key
