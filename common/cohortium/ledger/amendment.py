"""What an institution signs when its ledger holds wrong times, because its machine's clock once ran ahead.

The latest time in a ledger is what protects against a clock that is set back: a study that had expired by then is never
answered again. A clock that once ran ahead would therefore expire every study still to come. An *amendment* lists the entries
whose time was wrong; from then on they no longer count as evidence of the current time. It is an ordinary entry of the chain
and changes no other entry: charges stay charged, answers stay answered. Afterwards nobody can distinguish a clock that ran
ahead from one that is set back to gain time, so an amendment must not gain any: every study that was signed before it and had
expired by the amended times, or cannot be shown not to have, has expired for good (docs/custodian.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ConfigDict, TypeAdapter

from cohortium.system.canonical import canonical_json
from cohortium.system.keys import public_text, signed_by

_DOMAIN = b"cohortium ledger clock amendment 1\n"


@dataclass(frozen=True)
class Amendment:
    """entries: the numbers of those whose moment was wrong. today: the day that somebody confirmed, in UTC, as YYYY-MM-DD.

    head: of the chain that it goes on from. kept: digests of the studies that had not expired by the moments amended; all
    others that the chain consents to up to here have. key, signature: the institution's.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    head: str
    entries: tuple[int, ...]
    today: str
    kept: tuple[str, ...]
    key: str = ""
    signature: str = ""

    def signed(self, key: Ed25519PrivateKey) -> Amendment:
        named = replace(self, key=public_text(key), signature="")
        return replace(named, signature=key.sign(_statement(named)).hex())

    def continues(self, head: str, at: str, moments: Sequence[str]) -> bool:
        """Whether a ledger of this head and of entries of these moments may go on with it at the moment ``at``.

        Only what lies ahead of the clock was wrong; and the clock shows the day that was confirmed.
        """
        ahead = all(0 < n <= len(moments) and moments[n - 1] > at for n in self.entries)
        right = self.head == head and at[:10] == self.today and bool(self.entries) and ahead
        return right and signed_by(self.key, self.signature, _statement(self))


def _statement(amendment: Amendment) -> bytes:
    return _DOMAIN + canonical_json(asdict(replace(amendment, signature="")))


def amendment_of(document: Any) -> Amendment:
    """What ``asdict`` made a document of; ValueError where it is none."""
    return TypeAdapter(Amendment).validate_json(canonical_json(document), strict=True)
