"""An institution's folder: ``institution.toml`` and what it names. Only the institution decides and sees what is in it.

name = "emergency"
relay_uid = 1001                 # who may ask the custodian, beside itself: the user that runs the relay
proxy = "http://proxy:3128"      # on the relay's way to the coordinator; by default the environment's, or "none"

[source]
path = "table.parquet"           # or a database (docs/sources.md)

[population]
name = "emergency-patients"      # whose privacy is spent; it stays the same however the table changes

[ledger]                         # may be left out
keep_answers = "until-end"       # their bytes: or "for-ever", or how many days after the last answer of a run (30)

Beside it lie ``policy.toml`` (what is allowed), ``institution.key`` (mode 0600), ``ledger.sqlite``, ``studies`` (what was
signed) and, while the custodian runs, ``custodian.sock``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tomli_w
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError

from cohortium.data.encoding import Codes
from cohortium.errors import InputError, ReleaseError
from cohortium.federation.membership import Public
from cohortium.ledger.location import witness_of
from cohortium.ledger.store import Ledger
from cohortium.study.study import Study
from cohortium.system.documents import read_toml
from cohortium.system.filenames import Name
from cohortium.system.files import write_new, write_whole
from cohortium.system.keys import load_key, load_or_create_key
from cohortium.system.problems import first_problem
from cohortium.system.proxies import check_setting
from cohortium_client.custodian.agreements import Agreements
from cohortium_client.custodian.custodian import Custodian, Holding, Identity
from cohortium_client.custodian.keeping import LedgerSection, section
from cohortium_client.custodian.policy import Policy, load_policy, policy_of
from cohortium_client.custodian.sessions import Sessions
from cohortium_client.source.source import Source, load_source, look

FILE, POLICY, KEY = "institution.toml", "policy.toml", "institution.key"
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True)
class Population:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: Annotated[str, Field(min_length=1)]


def _several(keys: tuple[str, ...]) -> tuple[str, ...]:
    """No key, or those of at least two persons."""
    if keys and len(set(keys)) < max(2, len(keys)):
        raise ValueError("the keys of at least two persons are required, each once")
    return keys


@dataclass(frozen=True, kw_only=True)
class InstitutionFile:
    """The content of ``institution.toml``. Paths are relative to its folder.

    witness: where the newest head of the ledger is recorded; by default beside the ledger. restorers: the public keys
    of two or more persons, of whom two must sign before an older copy may take the ledger's place. ledger: its file, or a
    section with its settings.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: Name
    source: Source
    population: Population
    ledger: Annotated[LedgerSection, BeforeValidator(section)] = field(default_factory=LedgerSection)
    witness: str | None = None
    socket: str = "custodian.sock"
    relay_uid: Annotated[int, Strict(), Field(ge=0)] | None = None
    proxy: str | None = None
    restorers: Annotated[tuple[Public, ...], AfterValidator(_several)] = ()

    def __post_init__(self) -> None:
        check_setting(self.proxy, f"{FILE}, proxy")


@dataclass(frozen=True)
class Institution:
    """An institution's folder, read: its identity, its policy, and where its files are."""

    folder: Path
    file: InstitutionFile
    identity: Identity
    policy: Policy

    @property
    def agreements(self) -> Agreements:
        return Agreements(self.folder / "studies")

    @property
    def socket(self) -> Path:
        return self.folder / self.file.socket

    @property
    def ledger_file(self) -> Path:
        return self.folder / self.file.ledger.file

    @property
    def witness(self) -> Path:
        return witness_of(self.ledger_file) if self.file.witness is None else self.folder / self.file.witness

    @property
    def sessions_file(self) -> Path:
        return self.folder / "sessions.sqlite"

    @property
    def sessions_witness(self) -> Path:
        return self.witness.with_name(self.witness.name + ".sessions")

    def sessions(self) -> Sessions:
        """The sessions of masked sums, opened: the caller closes them."""
        return Sessions(self.sessions_file, self.sessions_witness)

    def look(self) -> None:
        """Open the table and read no row of it: raises what is wrong with it as a whole, before any request."""
        look(self.file.source, self.folder)

    def ledger(self) -> Ledger:
        """The ledger, opened: the caller closes it."""
        return Ledger(self.ledger_file, self.witness)

    def custodian(self, ledger: Ledger) -> Custodian:
        """The custodian over an open ledger; it reads the table when it is first asked."""

        def table(study: Study) -> Codes:
            return load_source(self.file.source, self.folder, study.schema)

        holding = Holding(self.file.population.name, table, ledger, self.sessions(), self.file.ledger.keep_answers)
        return Custodian(self.identity, self.agreements, holding, self.policy)


def load_institution(folder: Path) -> Institution:
    """Read an institution's folder; InputError, PolicyError or SecretError names the file and place of a problem."""
    file = _file(read_toml(folder / FILE))
    identity = Identity(file.name, load_key(folder / KEY))
    if identity.public in file.restorers:
        raise InputError(
            "E_INSTITUTION", f"{FILE}, restorers", "the custodian's own key is no person's", "Leave it out."
        )
    return Institution(folder, file, identity, load_policy(folder / POLICY))


@cache
def _adapter() -> TypeAdapter[InstitutionFile]:
    """Made once: it takes longer than all else that reading a file does."""
    return TypeAdapter(InstitutionFile)


def _file(document: dict[str, Any]) -> InstitutionFile:
    try:
        return _adapter().validate_python(document)
    except ValidationError as error:
        place, what = first_problem(error, InstitutionFile)
        raise InputError("E_INSTITUTION", f"{FILE}, {place}", what, "Correct the file.") from None


def init_institution(
    folder: Path, name: str, source: dict[str, Any], population: str, policy: dict[str, Any]
) -> Institution:
    """Make the folder's files and its key; existing files are not touched (E_RELEASE_EXISTS).

    Raises as ``load_institution`` does, before anything is made.
    """
    document = {"name": name, "source": source, "population": {"name": population}}
    _file(document)
    policy_of(policy, POLICY)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for taken in (FILE, POLICY, KEY):
        if (folder / taken).exists():
            raise _taken(taken)
    try:  # of two who make it at once, one makes all of it
        write_new(folder / POLICY, tomli_w.dumps(policy).encode())
    except FileExistsError:
        raise _taken(POLICY) from None
    load_or_create_key(folder / KEY)
    write_whole(folder / FILE, tomli_w.dumps(document).encode())
    return load_institution(folder)


def _taken(name: str) -> ReleaseError:
    return ReleaseError("E_RELEASE_EXISTS", name, "the folder is an institution's already", "Name another.")


def open_custodian(folder: Path) -> Custodian:
    """The custodian of an institution's folder, alone with its ledger until the process ends."""
    institution = load_institution(folder)
    return institution.custodian(institution.ledger().hold())
