"""Membership: an institution's application to a federation, signed by its identity key, and the fingerprint of its keys.

An application is public. It is authenticated by its fingerprint, which the institution reads out by telephone and the
coordinator types. It names the CA that the institution was given, so that a kit that was swapped on its way is noticed, too.
An institution that changes its identity key has the old key sign its successor.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from cohortium.errors import MembershipError
from cohortium.system.canonical import canonical_json, digest
from cohortium.system.documents import load_json
from cohortium.system.filenames import Name
from cohortium.system.files import unread
from cohortium.system.keys import public_text, signed_by
from cohortium.system.problems import first_problem

MAX_FILE = 4096
_DOMAIN = b"cohortium application 1\n"
_SUCCESSION = b"cohortium key succession 1\n"
_CLOSED = ConfigDict(extra="forbid")
_GROUPS, _DIGITS = 8, 4  # of a fingerprint: 128 bits, which nobody finds a second pair of keys for

Public = Annotated[str, Field(pattern=r"^ed25519:[0-9a-f]{64}$")]
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, kw_only=True)
class Succession:
    """The key ``former`` has signed that ``key`` follows it as the institution's identity."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    institution: Name
    former: Public
    key: Public
    signature: Signature

    @property
    def is_signed(self) -> bool:
        return signed_by(self.former, self.signature, _SUCCESSION + _signed_part(self))


@dataclass(frozen=True, kw_only=True)
class Application:
    """What the coordinator admits.

    root: SHA-256 of the federation's CA certificate. key: the identity. node: the relay's public key, in OpenSSH's format.
    succession: the former key's statement, where the identity key was changed.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    format: Literal["cohortium-application-1"] = "cohortium-application-1"
    federation: Name
    root: Sha256
    institution: Name
    key: Public
    node: Annotated[str, Field(max_length=400)]
    succession: Succession | None = None
    signature: Signature

    @property
    def fingerprint(self) -> str:
        """Eight groups of four upper-case hex digits, of the SHA-256 of name and keys."""
        digits = digest([self.institution, self.key, self.node]).upper()
        return "-".join(digits[i : i + _DIGITS] for i in range(0, _GROUPS * _DIGITS, _DIGITS))

    def has_fingerprint(self, typed: str) -> bool:
        """Whether that is what somebody typed, however they wrote letters and dashes."""
        return "".join(typed.upper().replace("-", " ").split()) == self.fingerprint.replace("-", "")

    def follows(self, key: str) -> bool:
        """Whether the identity is ``key``, or ``key`` has signed that this one follows it."""
        return self.key == key or (self.succession is not None and self.succession.former == key)


def _signed_part(statement: Application | Succession) -> bytes:
    document = {k: v for k, v in asdict(statement).items() if k != "signature" and v is not None}
    return canonical_json(document)


def succeed(institution: str, former: Ed25519PrivateKey, key: Ed25519PrivateKey) -> Succession:
    """The old key's statement that ``key`` follows it."""
    unsigned = Succession(institution=institution, former=public_text(former), key=public_text(key), signature="")
    return replace(unsigned, signature=former.sign(_SUCCESSION + _signed_part(unsigned)).hex())


def apply(
    federation: str, root: str, institution: str, key: Ed25519PrivateKey, node: str, succession: Succession | None
) -> Application:
    """The application of the institution whose identity is ``key``."""
    unsigned = Application(
        federation=federation,
        root=root,
        institution=institution,
        key=public_text(key),
        node=node,
        succession=succession,
        signature="",
    )
    return replace(unsigned, signature=key.sign(_DOMAIN + _signed_part(unsigned)).hex())


def dumps(statement: Application | Succession) -> bytes:
    """The content of its file."""
    return canonical_json({k: v for k, v in asdict(statement).items() if v is not None})


def load_application(path: Path) -> Application:
    """The application in a file, whose signatures are valid and whose node key is one; MembershipError E_MEMBER if not."""
    application = TypeAdapter(Application)
    try:
        found = application.validate_python(_document(path))
    except ValidationError as error:
        place, what = first_problem(error, Application)
        raise _refused(f"{path.name}, {place}", what) from None
    if not signed_by(found.key, found.signature, _DOMAIN + _signed_part(found)):
        raise _refused(path.name, "its signature is not that of its key")
    if found.succession is not None and not _is_about(found.succession, found.institution, found.key):
        raise _refused(f"{path.name}, succession", "the former key has not signed that this one follows it")
    if not is_node_key(found.node):
        raise _refused(f"{path.name}, node", "it is not a P-384 public key in OpenSSH's format")
    return found


def load_succession(path: Path, institution: str, key: str) -> Succession | None:
    """The former key's valid statement about ``key`` in the file, or None."""
    if not path.is_file():
        return None
    try:
        found = TypeAdapter(Succession).validate_python(_document(path))
    except ValidationError:
        return None
    return found if _is_about(found, institution, key) else None


def _is_about(succession: Succession, institution: str, key: str) -> bool:
    return (succession.institution, succession.key) == (institution, key) and succession.is_signed


def _document(path: Path) -> Any:
    try:
        return load_json(path, MAX_FILE)
    except OSError as error:
        raise unread(path, error) from None
    except ValueError:
        return None


def _refused(where: str, what: str) -> MembershipError:
    return MembershipError("E_MEMBER", where, what, "Ask the institution for its application.json again.")


def new_node_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def node_text(key: ec.EllipticCurvePrivateKey) -> str:
    """The public half, in OpenSSH's format without a comment."""
    openssh = serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, openssh).decode()


def is_node_key(text: str) -> bool:
    """Whether ``text`` is a P-384 public key in the one spelling that ``node_text`` has."""
    try:
        key = serialization.load_ssh_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        return False
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        return False
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode() == text


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
