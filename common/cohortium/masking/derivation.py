"""From one secret of an institution to its keys, and from two institutions' keys to what they share.

Every key comes from HKDF-SHA256 (RFC 5869). Its info is a domain, a label and all that the key must not outlive, in
canonical JSON, so that a key for anything else is another key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cohortium.errors import MaskingError, SecretError
from cohortium.masking.cohort import Cohort, Context
from cohortium.masking.ring import key_stream
from cohortium.masking.shamir import PRIME, SIZE
from cohortium.system.canonical import canonical_json

DOMAIN = b"cohortium masking 1\n"
_FORMAT = b"COHM1\n"
_SEED = 32
# X25519 of a fixed scalar: 0 for the keys that give everybody the same secret, and the same for two keys that differ only
# in their spelling or in a point of small order.
_PROBE = X25519PrivateKey.from_private_bytes(hashlib.sha256(DOMAIN + b"probe").digest())


def derive(secret: bytes, salt: bytes, label: str, *bound: Any) -> bytes:
    """32 bytes of HKDF-SHA256; ``bound`` is JSON."""
    info = DOMAIN + canonical_json([label, *bound])
    return HKDF(SHA256(), 32, salt, info).derive(secret)


@dataclass(frozen=True)
class Secrets:
    """All that an institution keeps to itself of a run, or of one attempt: 32 bytes that everything follows from.

    So every statement can be made again, bit for bit, and no leg draws anything. The context is bound into each key:
    attempts that the same secrets serve share no key, and what is revealed of one reveals nothing about another. Who
    gets hold of the secrets can unmask what they served; forget them when the run ends.
    """

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != _SEED:
            raise ValueError("a seed has 32 bytes")

    @staticmethod
    def draw(fresh: bytes) -> Secrets:
        """Pre-condition: 32 bytes of the operating system's (``os.urandom``) that serve nothing else."""
        return Secrets(fresh)

    def to_bytes(self) -> bytes:
        return _FORMAT + self.seed

    @staticmethod
    def from_bytes(data: bytes) -> Secrets:
        """SecretError E_SECRET unless ``to_bytes`` wrote it."""
        if len(data) != len(_FORMAT) + _SEED or not data.startswith(_FORMAT):
            raise SecretError(
                "E_SECRET",
                "the secrets of masked sums",
                "they are not what was written",
                "Let the coordinator begin a new run.",
            )
        return Secrets(data[len(_FORMAT) :])

    def mask_key(self, context: Context) -> bytes:
        """X25519 private key that the pair masks come from."""
        return self._derive("mask key", context)

    def encryption_key(self, context: Context) -> bytes:
        """X25519 private key that shares are encrypted under."""
        return self._derive("encryption key", context)

    def self_seed(self, context: Context) -> bytes:
        """b, which the self mask comes from."""
        return self._derive("self seed", context)

    def coefficients(self, context: Context, what: str, count: int) -> list[int]:
        """Of the polynomial that shares ``what``: uniform up to 2**-521."""
        stream = key_stream(self._derive("coefficients", context, what), SIZE * count)
        words = (int.from_bytes(stream[i : i + SIZE], "little") for i in range(0, SIZE * count, SIZE))
        return [(word & PRIME) % PRIME for word in words]

    def _derive(self, label: str, context: Context, *bound: Any) -> bytes:
        return derive(self.seed, b"", label, context.document(), *bound)


@dataclass(frozen=True)
class Seat:
    """An institution's place in a session: who it is, whom it adds up with, and its secrets."""

    cohort: Cohort
    name: str
    key: Ed25519PrivateKey = field(repr=False)
    context: Context
    secrets: Secrets = field(repr=False)


def public_key(private: bytes) -> str:
    """Hex of the X25519 public key of 32 private bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw().hex()


def exchange(private: bytes, public: str) -> bytes:
    """X25519 (RFC 7748). Pre-condition: ``fingerprint`` has accepted ``public``."""
    key = X25519PublicKey.from_public_bytes(bytes.fromhex(public))
    return X25519PrivateKey.from_private_bytes(private).exchange(key)


def fingerprint(public: str, where: str) -> bytes:
    """What two public keys have in common if they are one; MaskingError E_KEYS for a key that hides nothing."""
    try:
        return _PROBE.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(public)))
    except ValueError:
        raise MaskingError(
            "E_KEYS",
            where,
            "its public key is invalid, or one with which everybody shares the same secret",
            "Have that institution's installation looked into; nothing has left this one.",
        ) from None


def pair_masks(seat_key: bytes, name: str, others: dict[str, str], salt: bytes, *bound: Any) -> list[tuple[bytes, int]]:
    """(mask key, sign) that ``name`` shares with each of ``others`` (X25519 public keys by name).

    The first of the two by name adds the mask and the other subtracts it, so in the sum of both it cancels.
    """
    return [
        (derive(exchange(seat_key, public), salt, "pair mask", *bound, *sorted((name, other))), sign(name, other))
        for other, public in others.items()
    ]


def sign(name: str, other: str) -> int:
    return 1 if name < other else -1


def self_mask(seed: bytes, name: str, salt: bytes, *bound: Any) -> tuple[bytes, int]:
    return derive(seed, salt, "self mask", *bound, name), 1


def commitment(seed: bytes, name: str, context: Context) -> str:
    """SHA-256 under a domain; hides b, which is 256 uniform bits, and binds to it."""
    committed = [context.document(), name, seed.hex()]
    return hashlib.sha256(DOMAIN + b"commitment\n" + canonical_json(committed)).hexdigest()
