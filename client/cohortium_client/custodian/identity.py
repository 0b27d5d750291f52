"""An institution's identity: its name in studies, and the key that only its custodian has."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.system.keys import public_text


@dataclass(frozen=True)
class Identity:
    name: str
    key: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> str:
        return public_text(self.key)
