"""Putting a backup in the place of an institution's ledger: what may be lost by it, and whether it is allowed.

It depends on the ledger that is there. Where it cannot be opened and the witness records the backup's own head, no answer that
ever left the institution is missing: the backup takes its place and nothing is presumed. In every other case answers may have
been given that neither file knows of; then two of the institution's restorers must have signed what is presumed to be spent,
which may not be less than those answers can have cost (docs/backup.md).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cohortium.errors import LedgerError
from cohortium.ledger.backup import Backup, finish, lies_ready, make_ready, reading
from cohortium.ledger.location import hold_alone
from cohortium.ledger.receipt import Receipt
from cohortium.ledger.records import GENESIS, Consent
from cohortium.ledger.restoration import SIGNERS, Presumption, Restoration, RestoreRequest
from cohortium.ledger.store import Ledger
from cohortium.system.documents import load_json
from cohortium_client.custodian.institution import Institution
from cohortium_client.custodian.sessions import remove_sessions


@dataclass(frozen=True)
class _There:
    """A ledger that is in place and can be opened: its head, and the studies it consents to.

    epsilon, if_all_collude: the spend of the population that spent most, at the policy's delta. older: whether all of it is in
    the backup, which continues from there.
    """

    head: str
    epsilon: float
    if_all_collude: float
    studies: tuple[str, ...]
    older: bool


def draft(
    institution: Institution,
    backup: Path,
    shown: Sequence[str] = (),
    stated: tuple[float | None, float | None] = (None, None),
) -> RestoreRequest | None:
    """The request that two persons must sign before ``backup`` takes the ledger's place; None where nothing is lost by it.

    shown: heads that this institution has signed and others hold. stated: the epsilon to be presumed, and the
    one if all others collude, where they exceed the least.
    Raises LedgerError E_RESTORE where nothing needs to be restored, or less is stated than may have been spent.
    """
    with reading(backup, institution.ledger_file.parent) as copy:
        there = _there(institution, copy, shown)
        if there is None and _nothing_lost(institution, copy, shown):
            return None
        request = _request(institution, copy, there, shown)
    return replace(request, presumed=_presumed(request.presumed, *stated))


def restore(institution: Institution, backup: Path, signed: Restoration | None = None) -> Backup:
    """Put ``backup`` into the ledger's place; where anything is lost by it, two restorers must have signed the request.

    An interrupted restoration is completed first, whatever is given. Raises LedgerError: E_LEDGER_UNAVAILABLE while a custodian
    holds the ledger, E_RESTORE where the request is missing, about something else, too small, or signed by too few.
    """
    path = institution.ledger_file
    with _alone(path):
        ready = lies_ready(path) or _made_ready(institution, backup, signed)
        if ready.restored:
            # no mask of a run under way can be made a second time
            remove_sessions(institution.sessions_file, institution.sessions_witness)
        finish(path, institution.witness, ready.head)
    return ready


def _made_ready(institution: Institution, backup: Path, signed: Restoration | None) -> Backup:
    """The backup, ready to take the ledger's place; with the signed request where anything is lost."""
    wanted = draft(institution, backup, signed.request.lost if signed else ())
    if wanted is None:
        return make_ready(backup, institution.ledger_file, _witnessed(institution))
    if signed is None:
        raise _refused("entries may be lost by it", "Run cohortium ledger request-restore, and let two persons sign.")
    _check(institution, wanted, signed)
    return make_ready(backup, institution.ledger_file, wanted.backup, signed)


def _check(institution: Institution, wanted: RestoreRequest, signed: Restoration) -> None:
    """Raises unless the signed request equals the one that would be made now; its presumption alone may be larger."""
    request = signed.request
    if replace(request, presumed=wanted.presumed) != wanted:
        raise _refused("the request is about another backup or another state", "Make a new request, to be signed anew.")
    if not request.presumed.covers(wanted.presumed):
        raise _refused("the request presumes less than may have been spent", "Make a new request, to be signed anew.")
    signers = [key for key in institution.file.restorers if key in signed.signers]
    if len(signers) < SIGNERS:
        raise _refused(
            f"{len(signers)} of the restorers in institution.toml signed it, {SIGNERS} are required",
            "Let each run cohortium ledger sign-restore with a key of their own.",
        )


def _there(institution: Institution, backup: Ledger, shown: Sequence[str]) -> _There | None:
    """The ledger that is in place; None where there is none, or it cannot be opened. This never creates one."""
    with _opened(institution) as ledger:
        if ledger is None:
            return None
        forgot = not all(ledger.holds(head) for head in shown)
        extends, older = ledger.holds(backup.head()), backup.holds(ledger.head())
        if extends and not forgot:
            raise _refused(
                "the ledger in its place is sound, and holds all of the backup", "Nothing is to be restored."
            )
        if extends and not older:
            raise _refused(
                "the ledger in its place holds all of the backup, and more",
                "Back that ledger up, and restore the copy.",
            )
        consents = tuple(e.record.study for e in ledger.entries() if isinstance(e.record, Consent))
        return _There(ledger.head(), *_spent(institution, ledger), consents, older and not extends)


@contextmanager
def _opened(institution: Institution) -> Iterator[Ledger | None]:
    with ExitStack() as stack:
        ledger = None
        if institution.ledger_file.exists():
            try:
                ledger = stack.enter_context(institution.ledger())
                ledger.verify()
            except LedgerError as error:
                if error.code == "E_VERSION":
                    raise
                ledger = None
        yield ledger


def _nothing_lost(institution: Institution, backup: Ledger, shown: Sequence[str]) -> bool:
    """The witness records the newest head under which anything left; where the witness is lost or older, nobody knows that head."""
    return _witnessed(institution) == backup.head() and all(backup.holds(head) for head in shown)


def _request(institution: Institution, backup: Ledger, there: _There | None, shown: Sequence[str]) -> RestoreRequest:
    seen = _witnessed(institution)
    heads = {seen, *shown, there.head if there else ""} - {"", GENESIS}
    return RestoreRequest(
        institution=institution.identity.name,
        key=institution.identity.public,
        population=institution.file.population.name,
        backup=backup.head(),
        entries=len(backup.entries()),
        witnessed=seen,
        lost=tuple(sorted(head for head in heads if not backup.holds(head))),
        studies=tuple(sorted({*institution.agreements, *(there.studies if there else ())})),
        presumed=_least(institution, backup, there),
    )


def _least(institution: Institution, backup: Ledger, there: _There | None) -> Presumption:
    """An upper bound on what can have been spent, from the caps and the files.

    What is lost continued from the backup, within the cap. A ledger that is in place and is not part of the backup's
    past may have spent beside that: its spend is added, epsilons and deltas each.
    """
    policy = institution.policy
    epsilon, colluding = _spent(institution, backup)
    epsilon = max(epsilon, _bound(policy.epsilon_per_population))
    colluding = max(colluding, _bound(policy.epsilon_if_all_collude))
    delta = policy.delta
    if there is not None and not there.older:
        epsilon, colluding, delta = epsilon + there.epsilon, colluding + there.if_all_collude, 2 * delta
    if not math.isfinite(epsilon):
        raise _refused(
            "nothing bounds what may have been spent at the policy's delta",
            "Let policy.toml say the cap, at no smaller a delta than an earlier restoration presumes.",
        )
    return Presumption(epsilon, delta, colluding if math.isfinite(colluding) else None)


def _bound(cap: float | None) -> float:
    """Infinite where there was no cap."""
    return math.inf if cap is None else cap


def _spent(institution: Institution, ledger: Ledger) -> tuple[float, float]:
    """The spend of the population that spent most, at the policy's delta: towards the coordinator, and if all others collude."""
    names, delta = {institution.file.population.name, *ledger.populations()}, institution.policy.delta
    costs = [(ledger.spent(name, delta).epsilon, ledger.spent_if_all_collude(name, delta).epsilon) for name in names]
    return max(epsilon for epsilon, _ in costs), max(colluding for _, colluding in costs)


def _presumed(least: Presumption, epsilon: float | None, colluding: float | None) -> Presumption:
    """The stated presumption; E_RESTORE where it is less than the least."""
    if colluding is not None and least.bare is None:
        raise _refused("no cap epsilon_if_all_collude held", "Leave its number out: nothing bounds what was spent.")
    presumed = Presumption(
        least.epsilon if epsilon is None else epsilon, least.delta, least.bare if colluding is None else colluding
    )
    if not presumed.covers(least):
        raise _refused(
            f"at least epsilon {least.epsilon:g} may have been spent, {least.bare} if all collude", "State no less."
        )
    return presumed


def heads_of(institution: Institution, receipts: Path) -> list[str]:
    """The heads that this institution signed in a file of receipts, as coordinators keep it; E_RESTORE if it is no such file."""
    try:
        shown = [Receipt(**document) for document in load_json(receipts)]
    except (ValueError, TypeError):
        raise _refused(f"{receipts.name} is no file of receipts", "Ask the coordinator for it.") from None
    name, key = institution.identity.name, institution.identity.public
    return [r.head for r in shown if r.institution == name and r.is_of(key)]


def _witnessed(institution: Institution) -> str:
    """The newest head that the witness records; empty where there is no witness or it cannot be read."""
    with suppress(OSError, ValueError):
        return institution.witness.read_text(encoding="ascii")
    return ""


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = hold_alone(path)
    try:
        yield
    finally:
        os.close(lock)


def _refused(what: str, fix: str) -> LedgerError:
    return LedgerError("E_RESTORE", "ledger", what, fix)
