"""The relay's folder: what the process between the network and the custodian needs, and nothing else of the institution.

relay.toml         the federation, the institution, the coordinator's address, where the custodian's socket is
root.crt           the CA's certificate: whom the relay speaks to
node.key           its own key, mode 0600: who the coordinator knows it is
application.json   what the coordinator admits; public
flower/            what Flower remembers
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from cohortium.address import Address, AddressField
from cohortium.errors import MembershipError, SecretError
from cohortium.keys import read_secret
from cohortium.schema import first_problem, read_toml
from cohortium.study import Name

FILE = "relay.toml"
JOIN = "Make one: cohortium institution join KIT.zip SITE."
ROTATE = "Make a new one: cohortium institution join KIT.zip SITE --rotate-node-key."


@dataclass(frozen=True, kw_only=True)
class RelayFile:
    """The content of ``relay.toml``. socket: the custodian's, relative to the file's folder or absolute."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    federation: Name
    institution: Name
    address: AddressField
    socket: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class Relay:
    """A relay's folder, read: whom it serves, whom it speaks to, and where things lie."""

    folder: Path
    file: RelayFile

    @property
    def address(self) -> Address:
        """The coordinator's."""
        return self.file.address

    @property
    def socket(self) -> Path:
        """The custodian's."""
        return self.folder / self.file.socket

    @property
    def root_certificate(self) -> Path:
        return self.folder / "root.crt"

    @property
    def node_key(self) -> Path:
        """In OpenSSH's format."""
        return self.folder / "node.key"

    @property
    def application(self) -> Path:
        return self.folder / "application.json"

    @property
    def home(self) -> Path:
        """Flower's."""
        return self.folder / "flower"


def load_relay(folder: Path) -> Relay:
    """Read a relay's folder; MembershipError E_FEDERATION names the place of a problem."""
    if not (folder / FILE).is_file():
        raise MembershipError("E_FEDERATION", folder.name, "it is no relay's folder", JOIN)
    try:
        return Relay(folder, TypeAdapter(RelayFile).validate_python(read_toml(folder / FILE)))
    except ValidationError as error:
        place, what = first_problem(error)
        raise MembershipError("E_FEDERATION", f"{FILE}, {place}", what, "Correct the file.") from None


def load_node_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The relay's key; SecretError E_SECRET if there is none, others may read it, or it is something else."""
    try:
        key = serialization.load_ssh_private_key(read_secret(path, JOIN), password=None)
    except ValueError:
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise SecretError("E_SECRET", path.name, "it is not a P-384 private key in OpenSSH's format", ROTATE)
    return key
