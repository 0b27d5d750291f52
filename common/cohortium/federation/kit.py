"""The join kit: a zip file that a coordinator sends to an institution it invites. It holds no private key and no secret.

kit.toml     the federation, its address, the institution, the SHA-256 of the CA's certificate
root.crt     the CA's certificate, by which the institution recognises the coordinator
study.toml   who is in the federation, to write a study from
README.txt   what to do
SHA256SUMS   of the others

The checksums detect damage. A kit that was swapped is detected when the coordinator admits the institution, whose
application names the CA that it was given. The same kit has the same bytes wherever it is made.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import tomli_w
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from pydantic import ConfigDict, TypeAdapter, ValidationError

from cohortium.errors import MembershipError
from cohortium.federation.membership import Sha256, sha256
from cohortium.system.address import Address, AddressField
from cohortium.system.documents import parse_toml, read_within
from cohortium.system.filenames import Name
from cohortium.system.files import unread
from cohortium.system.problems import first_problem

FORMAT = "cohortium-kit-1"
HEAD, ROOT, STUDY, README, SUMS = "kit.toml", "root.crt", "study.toml", "README.txt", "SHA256SUMS"
NAMES = {HEAD, ROOT, STUDY, README, SUMS}
MAX_MEMBER = 256 * 1024  # bytes: a thousand institutions' names are well below
MAX_KIT = 1024 * 1024
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the latter where somebody has zipped it again
# what the standard library raises for a zip file that is none
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time a zip file can state


@dataclass(frozen=True, kw_only=True)
class Kit:
    """federation: its name. root: the CA's certificate in PEM. study: the text of a study to begin from."""

    federation: str
    address: Address
    institution: str
    root: bytes
    study: str

    @property
    def root_digest(self) -> str:
        return root_digest(self.root)


@dataclass(frozen=True, kw_only=True)
class _Head:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    format: Literal["cohortium-kit-1"]
    federation: Name
    address: AddressField
    institution: Name
    root: Sha256


def root_digest(pem: bytes) -> str:
    """SHA-256 of a certificate's bytes (DER), in lower-case hex; ValueError if ``pem`` is not a certificate."""
    return sha256(x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER))


def pack(kit: Kit) -> bytes:
    """The kit as a zip file."""
    head = {
        "format": FORMAT,
        "federation": kit.federation,
        "address": str(kit.address),
        "institution": kit.institution,
        "root": kit.root_digest,
    }
    files = {
        HEAD: tomli_w.dumps(head).encode(),
        ROOT: kit.root,
        STUDY: kit.study.encode(),
        README: _readme(kit).encode(),
    }
    files[SUMS] = _sums(files)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # as Unix writes it, on every system
            archive.writestr(entry, files[name])
    return packed.getvalue()


def _sums(files: dict[str, bytes]) -> bytes:
    """As ``sha256sum`` writes and checks them."""
    return "".join(f"{sha256(files[name])}  {name}\n" for name in sorted(files)).encode()


def _readme(kit: Kit) -> str:
    return f"""Join kit of {kit.institution!r} for the federation {kit.federation!r}

Nothing in this kit is secret. Your keys are made on your machine and stay there.

1. Install cohortium, then join. SITE is your institution's folder; --data names your table where you have no folder yet:

   cohortium institution join KIT.zip SITE --data TABLE

2. Send the file application.json, which it names, to the coordinator, and read the fingerprint it prints to them by
   telephone. Use a number that you know already, not one that came with this kit.

3. Once the coordinator has admitted you:

   cohortium institution serve SITE

The coordinator is reached at {kit.address}. study.toml lists who was invited when this kit was made.
"""


def load_kit(path: Path) -> Kit:
    """The kit in a zip file; MembershipError E_KIT names what is wrong with it."""
    try:
        content = read_within(path, MAX_KIT)
    except OSError as error:
        raise unread(path, error) from None
    except ValueError:
        raise _refused(path.name, "it is larger than any kit") from None
    return unpack(content, path.name)


def unpack(packed: bytes, where: str = "kit") -> Kit:
    """The kit in a zip file's bytes. No name inside the archive ever becomes a path."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            files = _files(archive, where)
    except _DAMAGED:
        raise _refused(where, "it is not a zip file, or it is damaged") from None
    _check_sums(files, where)
    head = _head(files[HEAD], where)
    if _digest_or_none(files[ROOT]) != head.root:
        raise _refused(f"{where}, {ROOT}", f"it is not the certificate named in {HEAD}")
    return Kit(
        federation=head.federation,
        address=head.address,
        institution=head.institution,
        root=files[ROOT],
        study=files[STUDY].decode(errors="replace"),
    )


def _files(archive: zipfile.ZipFile, where: str) -> dict[str, bytes]:
    """The five files and no others, each read no further than it may be long."""
    names = archive.namelist()
    if any(i.compress_type not in _PACKED for i in archive.infolist()):
        raise _refused(where, "it is packed in a way that kits are not")
    if sorted(names) != sorted(NAMES):
        raise _refused(where, f"it does not hold just {', '.join(sorted(NAMES))}")
    files = {}
    for name in names:
        with archive.open(name) as member:
            files[name] = member.read(MAX_MEMBER + 1)
        if len(files[name]) > MAX_MEMBER:
            raise _refused(f"{where}, {name}", "it is longer than in any kit")
    return files


def _check_sums(files: dict[str, bytes], where: str) -> None:
    listed = files[SUMS].decode(errors="replace").splitlines()
    for name in sorted(NAMES - {SUMS}):
        if f"{sha256(files[name])}  {name}" not in listed:
            raise _refused(f"{where}, {name}", f"its checksum is not the one in {SUMS}")


def _head(content: bytes, where: str) -> _Head:
    try:
        return TypeAdapter(_Head).validate_python(parse_toml(content))
    except ValidationError as error:
        place, what = first_problem(error, _Head)
        raise _refused(f"{where}, {HEAD}, {place}", what) from None
    except ValueError:
        raise _refused(f"{where}, {HEAD}", "it is not TOML") from None


def _digest_or_none(pem: bytes) -> str | None:
    try:
        return root_digest(pem)
    except ValueError:
        return None


def _refused(where: str, what: str) -> MembershipError:
    return MembershipError("E_KIT", where, what, "Ask the coordinator to send the kit again.")
