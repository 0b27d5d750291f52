"""A receipt: an institution's signature that its ledger holds the charge for a message.

``head`` is the hash of the ledger entry that charged the message. The coordinator keeps each institution's newest receipts
and presents them with every request: an institution whose ledger lacks a head it has signed itself knows that the ledger was
rolled back. A release carries the receipts of all its messages.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.system.canonical import canonical_json, digest
from cohortium.system.keys import signed_by

_DOMAIN = b"cohortium receipt 1\n"


@dataclass(frozen=True)
class Receipt:
    """institution: its name in the study. message: SHA-256 of the message's bytes. head: of its ledger, with the charge.

    about: which study, run, round and attempt the message answers (``about``), so that nobody can pass it off for another's.
    """

    institution: str
    message: str
    head: str
    signature: str
    about: str = ""

    def is_of(self, public: str) -> bool:
        """Whether the holder of the key ``public`` signed it."""
        return signed_by(public, self.signature, _statement(self.institution, self.message, self.head, self.about))


def sign_receipt(key: Ed25519PrivateKey, institution: str, message: str, head: str, about: str = "") -> Receipt:
    """Always the same bytes for the same message and head, so that a repeated answer is the same answer."""
    return Receipt(institution, message, head, key.sign(_statement(institution, message, head, about)).hex(), about)


def about(study: str, run: str, round_number: int, attempt: int) -> str:
    """What an answer is to, as a digest."""
    return digest([study, run, round_number, attempt])


def _statement(institution: str, message: str, head: str, about: str) -> bytes:
    fields = {"institution": institution, "message": message, "head": head, "about": about}
    return _DOMAIN + canonical_json(fields)
