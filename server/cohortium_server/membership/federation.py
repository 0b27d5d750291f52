"""The coordinator's folder: ``federation.toml``, and the places of its files.

[federation]
name = "covid-clinics"
address = "coordinator.example.org:8443"   # where institutions reach it
listen = "[::]:8443"                       # by default everywhere, at the address' port; behind a proxy 127.0.0.1:8443
control = "127.0.0.1:8444"                 # for this machine alone; by default 127.0.0.1 and the port after listen's
metrics = "127.0.0.1:9464"                 # without it no metrics are served
days = 397                                 # how long the server's certificate is valid
keep_sums = 365                            # days after its release that a run's sums are kept; without it for ever

[[institution]]                            # who may become a member (docs/federation.md)
name = "emergency"
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError

from cohortium.errors import MembershipError
from cohortium.system.address import LARGEST_PORT, Address, AddressField
from cohortium.system.documents import read_toml
from cohortium.system.filenames import Name
from cohortium.system.listening import LOOPBACK, everywhere
from cohortium.system.metrics import is_loopback
from cohortium.system.problems import first_problem

FILE = "federation.toml"
DAYS = 397
_CLOSED = ConfigDict(extra="forbid", allow_inf_nan=False)
FederationName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
"""As other names, but an organisation's name in a certificate has at most 64 letters (RFC 5280, A.1)."""


@dataclass(frozen=True, kw_only=True)
class Invited:
    """An institution that may become a member."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    name: Name


@dataclass(frozen=True, kw_only=True)
class Head:
    """The section [federation]. days: how long the server's certificate is valid.

    keep_sums: days after its release that a run's sums are kept; None for ever.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    name: FederationName
    address: AddressField
    listen: AddressField | None = None
    control: AddressField | None = None
    metrics: AddressField | None = None
    days: Annotated[int, Strict(), Field(ge=1, le=3650)] = DAYS
    keep_sums: Annotated[int, Strict(), Field(ge=1, le=36500)] | None = None


@dataclass(frozen=True, kw_only=True)
class FederationFile:
    """The content of ``federation.toml``."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    federation: Head
    institution: Annotated[tuple[Invited, ...], Field(min_length=1, max_length=1000)]


@dataclass(frozen=True)
class Federation:
    """A coordinator's folder and its file, with the defaults filled in. Addresses are hosts and ports."""

    folder: Path
    file: FederationFile

    @property
    def name(self) -> str:
        return self.file.federation.name

    @property
    def address(self) -> Address:
        """Where institutions reach the coordinator."""
        return self.file.federation.address

    @property
    def listen(self) -> Address:
        """Where it listens for them: by default everywhere, in the address' family, or in both."""
        return self.file.federation.listen or everywhere(self.address)

    @property
    def control(self) -> Address:
        """The address of its Control and Runtime APIs, on this machine only."""
        return self.file.federation.control or Address(LOOPBACK, self.listen.port + 1)

    @property
    def metrics(self) -> Address | None:
        return self.file.federation.metrics

    @property
    def days(self) -> int:
        """How long a certificate of the server is valid."""
        return self.file.federation.days

    @property
    def keep_sums(self) -> int | None:
        """Days after its release that a run's sums are kept; None for ever."""
        return self.file.federation.keep_sums

    @property
    def institution_names(self) -> tuple[str, ...]:
        """Who may become a member."""
        return tuple(i.name for i in self.file.institution)

    @property
    def root_certificate(self) -> Path:
        """The private CA's, in PEM."""
        return self.folder / "ca" / "root.crt"

    @property
    def root_key(self) -> Path:
        """The private CA's key, which may be kept off the machine."""
        return self.folder / "ca" / "root.key"

    @property
    def server_certificate(self) -> Path:
        return self.folder / "server.crt"

    @property
    def server_key(self) -> Path:
        return self.folder / "server.key"

    @property
    def kits(self) -> Path:
        """A join kit for each institution."""
        return self.folder / "kits"

    @property
    def members(self) -> Path:
        """The applications of members."""
        return self.folder / "members"

    @property
    def revoked(self) -> Path:
        """The applications of former members."""
        return self.folder / "revoked"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    @property
    def executor_secret(self) -> Path:
        """64 hex digits: whoever shows them may run the coordinator's program."""
        return self.secrets / "executor"

    @property
    def control_secret(self) -> Path:
        """64 hex digits: whoever shows them may start and stop runs."""
        return self.secrets / "control"

    @property
    def state(self) -> Path:
        """The server's state, while it serves and in between."""
        return self.folder / "state"

    @property
    def link_database(self) -> Path:
        """The database of Flower's SuperLink."""
        return self.state / "superlink.db"

    @property
    def runs(self) -> Path:
        """A folder for each run (journal.py)."""
        return self.folder / "runs"


def load_federation(folder: Path) -> Federation:
    """The federation in a coordinator's folder; MembershipError E_FEDERATION names the place of a problem."""
    if not (folder / FILE).is_file():
        raise _wrong(folder.name, "it is no coordinator's folder", f"Make one: cohortium provision {FILE} --out FED.")
    return read_federation(folder / FILE, folder)


@cache
def _adapter() -> TypeAdapter[FederationFile]:
    """Made once: it takes longer than all else that reading a file does."""
    return TypeAdapter(FederationFile)


def read_federation(path: Path, folder: Path) -> Federation:
    """The federation that ``path`` describes and whose folder is, or will be, ``folder``; raises as ``load_federation`` does."""
    document = read_toml(path)
    try:
        file = _adapter().validate_python(document)
    except ValidationError as error:
        place, what = first_problem(error, FederationFile)
        raise _wrong(f"{path.name}, {place}", what, "Correct the file.") from None
    federation = Federation(folder, file)
    _check_names(federation)
    _check_addresses(federation)
    return federation


def _check_names(federation: Federation) -> None:
    names = [name.casefold() for name in federation.institution_names]  # they become files' names
    if len(set(names)) < len(names):
        raise _wrong(f"{FILE}, institution", "two institutions have the same name", "Give each its own.")


def _check_addresses(federation: Federation) -> None:
    if federation.address.ip is not None and federation.address.ip.is_unspecified:
        raise _wrong(f"{FILE}, address", "nobody can be reached there", "Set the host that institutions connect to.")
    if not is_loopback(federation.control):
        raise _wrong(f"{FILE}, control", "others could reach it", f"Choose {LOOPBACK} and a port.")
    doors = [a for a in (federation.listen, federation.control, federation.metrics) if a is not None]
    if federation.control.port > LARGEST_PORT:
        raise _wrong(f"{FILE}, control", "there is no port after listen's", f"Choose {LOOPBACK} and a port.")
    if len({a.port for a in doors}) < len(doors):
        raise _wrong(FILE, "listen, control and metrics share a port", "Give each its own.")


def _wrong(where: str, what: str, fix: str) -> MembershipError:
    return MembershipError("E_FEDERATION", where, what, fix)
