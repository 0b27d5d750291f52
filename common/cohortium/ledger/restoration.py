"""What two persons sign before a backup replaces a lost ledger, and what is then presumed to be spent.

Entries made after the backup are gone, and what they held is lost. What is certain is that every answer was within the
caps of the policy. The ledger therefore continues from a *presumption*: each population counts as having spent, before the
restoration, the most that the caps allowed, as one (epsilon, delta) event. The person at the machine cannot decide that
alone: two of the institution's *restorers* sign it, and the chain records what they signed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ConfigDict, Field, TypeAdapter

from cohortium.errors import LedgerError
from cohortium.privacy.accounting import MIN_DELTA, Cost, Events, cost
from cohortium.system.canonical import canonical_json, digest
from cohortium.system.documents import load_json
from cohortium.system.files import write_whole
from cohortium.system.keys import public_text, signed_by

FORMAT = "cohortium-restore-1"
SIGNERS = 2
MAX_FILE = 4 << 20
VOUCHED = (
    "Nothing was answered since the backup under a higher cap than is presumed here, under one at a larger delta, or "
    "without it; an older ledger was put back unnoticed at most once. Those who sign have asked whoever knows."
)
_DOMAIN = b"cohortium ledger restore 1\n"
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Epsilon = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Presumption:
    """What every population of a ledger counts as having spent before a restoration: epsilon at delta, as one event.

    bare: the epsilon towards somebody who knows what all other institutions sent; None where no cap bounded it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    epsilon: Epsilon
    delta: Annotated[float, Field(gt=0, lt=1)]
    bare: Epsilon | None

    def covers(self, least: Presumption) -> bool:
        """Whether it presumes at least as much, at the same delta."""
        known = self.bare is None or (least.bare is not None and self.bare >= least.bare)
        return self.epsilon >= least.epsilon and self.delta == least.delta and known


@dataclass(frozen=True)
class RestoreRequest:
    """What is to be restored and presumed, for two persons to sign.

    institution, key: whose ledger. population: whose privacy it mainly counts. backup, entries: head and length of the
    backup's chain, which binds everything in it. witnessed: the newest head in the institution's witness, or empty
    where the witness is lost, too. lost: heads the ledger once had and the backup lacks. studies: digests of all that
    lies among the institution's signed studies. vouched: what the signers confirm beside it, always ``VOUCHED``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    institution: str
    key: str
    population: str
    backup: str
    entries: int
    witnessed: str
    lost: tuple[str, ...]
    studies: tuple[str, ...]
    presumed: Presumption
    vouched: str = VOUCHED

    @property
    def digest(self) -> str:
        return digest(asdict(self))

    def sign(self, key: Ed25519PrivateKey) -> str:
        return key.sign(_statement(self)).hex()


@dataclass(frozen=True)
class Restoration:
    """Two persons let a backup take the place of the ledger. signatures: 128 hex digits by each signer's public key."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    request: RestoreRequest
    signatures: Mapping[str, str]

    @property
    def signers(self) -> tuple[str, ...]:
        """The keys whose signature is valid, each once."""
        statement = _statement(self.request)
        return tuple(sorted(k for k, s in self.signatures.items() if signed_by(k, s, statement)))

    def continues(self, head: str) -> bool:
        """Whether it is what a ledger of this head may go on with."""
        return head == self.request.backup and len(self.signers) >= SIGNERS


def _statement(request: RestoreRequest) -> bytes:
    return _DOMAIN + canonical_json(asdict(request))


def restoration_of(document: Any) -> Restoration:
    """What ``asdict`` made a document of; ValueError where it is none."""
    return TypeAdapter(Restoration).validate_json(canonical_json(document), strict=True)


def read_request(path: Path) -> Restoration:
    """A request's file, with the signatures on it so far; LedgerError E_RESTORE where it is none."""
    try:
        document = load_json(path, MAX_FILE)
        if isinstance(document, dict) and document.pop("format", None) == FORMAT:
            return restoration_of(document)
    except ValueError:
        pass
    raise LedgerError(
        "E_RESTORE", path.name, "it is no request to restore a ledger", "Make one: cohortium ledger request-restore."
    )


def write_request(path: Path, restoration: Restoration) -> None:
    """In lines, for those who must read it before they sign; what is signed is its canonical form."""
    document = {"format": FORMAT, **asdict(restoration)}
    write_whole(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(), mode=0o644)


def in_words(request: RestoreRequest) -> str:
    """What somebody agrees to who signs it."""
    presumed = request.presumed
    bare = "without any bound" if presumed.bare is None else f"epsilon {presumed.bare:g}"
    lines = [
        f"The ledger of {request.institution!r} goes on from a backup of {request.entries} entries, head {request.backup}.",
        f"Lost heads: {', '.join(request.lost) or 'not known, for the witness is lost too'}.",
        f"Each population counts as having spent epsilon {presumed.epsilon:g} at delta {presumed.delta:g}, and {bare} if all"
        " other institutions collude, whatever was in fact answered.",
        f"No study it has signed is answered any more ({len(request.studies)} lie in its folder).",
        f"Whoever signs confirms: {request.vouched}",
    ]
    return "\n".join(lines)


def signed(restoration: Restoration, key: Ed25519PrivateKey) -> Restoration:
    """The same with one more signature."""
    added = {public_text(key): restoration.request.sign(key)}
    return Restoration(restoration.request, {**restoration.signatures, **added})


def cost_after(epsilon: float, before: float, events: Events, delta: float) -> Cost:
    """What ``events`` cost at ``delta`` after something that is known to be (``epsilon``, ``before``)-private only.

    Epsilons and deltas add up whatever the mechanisms were and however later ones were chosen (adaptive basic
    composition: Dwork and Roth 2014, Theorem B.1); both ways of accounting count the rest. Epsilon is infinite where
    no bound exists: at a delta that leaves nothing for the events.
    """
    if not events and delta >= before:
        return Cost(epsilon, delta, "presumed", epsilon, "presumed")
    rest = math.nextafter(delta - before, 0.0)
    if rest < MIN_DELTA:
        return Cost(math.inf, delta, "presumed at a larger delta", math.inf, "presumed at a larger delta")
    later = cost(events, rest)
    method, check = (f"presumed, then {m}" for m in (later.method, later.check_method))
    return Cost(epsilon + later.epsilon, delta, method, epsilon + later.check, check)
