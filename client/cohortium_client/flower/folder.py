"""The relay's folder: ``relay.toml`` and what lies beside it. It may belong to another user than the custodian's.

federation = "covid-clinics"
institution = "emergency"
address = "coordinator.example.org:8443"
socket = "../custodian.sock"        # the custodian's; relative to this file, or absolute
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from cohortium.errors import InputError
from cohortium.schema import first_problem, read_toml

FILE, ROOT, KEY, HOME = "relay.toml", "root.crt", "node.key", "flower"


@dataclass(frozen=True, kw_only=True)
class _RelayFile:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    federation: Annotated[str, Field(min_length=1)]
    institution: Annotated[str, Field(min_length=1)]
    address: Annotated[str, Field(pattern=r"^\S+:\d+$")]
    socket: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class RelayFolder:
    """A relay's folder, read. address: the coordinator's, host:port. socket: the custodian's."""

    folder: Path
    federation: str
    institution: str
    address: str
    socket: Path

    @property
    def root(self) -> Path:
        """The certificate that the coordinator is trusted by."""
        return self.folder / ROOT

    @property
    def key(self) -> Path:
        """The node's private key."""
        return self.folder / KEY

    @property
    def home(self) -> Path:
        """Flower's own files."""
        return self.folder / HOME


def load_relay(folder: Path) -> RelayFolder:
    """Read a relay's folder; InputError E_INSTITUTION names what is missing or wrong."""
    try:
        read = TypeAdapter(_RelayFile).validate_python(read_toml(folder / FILE))
    except ValidationError as error:
        place, what = first_problem(error)
        raise InputError("E_INSTITUTION", f"{FILE}, {place}", what, "Correct the file.") from None
    opened = RelayFolder(folder, read.federation, read.institution, read.address, (folder / read.socket).absolute())
    for path in (opened.root, opened.key):
        if not path.is_file():
            fix = "Join the federation again: cohortium institution join."
            raise InputError("E_INSTITUTION", path.name, "it does not lie in the relay's folder", fix)
    return opened
