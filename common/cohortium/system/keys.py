"""Ed25519 identities in files that only their owner can read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cohortium.errors import SecretError
from cohortium.system.files import write_new
from cohortium.system.platforms import others_may

PREFIX = "ed25519:"


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """The private key in ``path``, made there with mode 0600 if there is none; raises as ``load_key`` does.

    Of many who ask for a new one at once all get the same: the first to give its file the name.
    """
    if not path.exists():
        with suppress(FileExistsError):
            _create(path)
    return load_key(path)


def load_key(path: Path) -> Ed25519PrivateKey:
    """SecretError E_SECRET if there is no such file, others may read it, or it holds something else."""
    try:
        key = serialization.load_pem_private_key(
            read_secret(path, "Make one: cohortium institution init."), password=None
        )
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SecretError(
            "E_SECRET", path.name, "it is not an Ed25519 private key in PEM", "Give the path of the right file."
        )
    return key


def read_secret(path: Path, make: str) -> bytes:
    """The content of a private file; SecretError E_SECRET if others may read it, or if it is absent (``make``: the fix)."""
    if not path.is_file():
        raise SecretError("E_SECRET", path.name, "there is no such private key or secret", make)
    if others_may(path.stat().st_mode, 0o077):
        raise SecretError(
            "E_SECRET",
            path.name,
            "others may read this private key or secret",
            "Run chmod 600 on it, or delete it and make a new one.",
        )
    return path.read_bytes()


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_new(path, private_pem(Ed25519PrivateKey.generate()))


def private_pem(key: Ed25519PrivateKey | EllipticCurvePrivateKey) -> bytes:
    """The content of its file."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_text(key: Ed25519PrivateKey) -> str:
    """``ed25519:`` and 64 lower-case hex digits."""
    return PREFIX + key.public_key().public_bytes_raw().hex()


def signed_by(public: str, signature: str, message: bytes) -> bool:
    """Whether ``signature`` (128 lower-case hex digits) is ``public``'s on ``message``; False for anything malformed."""
    try:
        key_bytes, signature_bytes = bytes.fromhex(public.removeprefix(PREFIX)), bytes.fromhex(signature)
        if PREFIX + key_bytes.hex() != public or signature_bytes.hex() != signature:
            return False  # one spelling only, so that a touched letter is a touched file
        Ed25519PublicKey.from_public_bytes(key_bytes).verify(signature_bytes, message)
    except (ValueError, InvalidSignature):
        return False
    return True
