"""Signed statements of the masking protocol, on a board that the coordinator shows to every institution.

The coordinator adds nothing of its own to a board. A statement names its institution, leg and session, and is signed under
a key that the study pins, so the coordinator can withhold statements, but can neither forge nor move one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from cohortium.errors import MaskingError, WireError
from cohortium.masking.cohort import Cohort, Context
from cohortium.masking.derivation import Seat, fingerprint, public_key
from cohortium.system.canonical import canonical_json, digest
from cohortium.system.documents import parse_json
from cohortium.system.keys import signed_by

Leg = Literal["advertise", "share", "mask", "confirm", "reveal"]
_DOMAIN = b"cohortium masking statement 1\n"
_HEX = frozenset("0123456789abcdef")
MAX_BOARD = 64 << 20


@dataclass(frozen=True)
class Statement:
    """One institution's statement in one leg. body: a JSON object of strings, lists and objects of strings.

    signature: 128 hex digits, Ed25519 over all the other fields.
    """

    institution: str
    leg: Leg
    context: Context
    body: Mapping[str, Any]
    signature: str

    def document(self) -> dict[str, Any]:
        return {**_signed_document(self.institution, self.leg, self.context, self.body), "signature": self.signature}

    @staticmethod
    def from_document(document: Any) -> Statement:
        """WireError E_WIRE unless the fields and their types are a statement's; who signed is not looked at."""
        named = {"institution": str, "leg": str, "study": str, "run": str, "body": dict, "signature": str}
        if not isinstance(document, dict) or set(document) != {*named, "round", "attempt"}:
            raise _malformed("a statement has other fields than it should")
        if any(type(document[name]) is not kind for name, kind in named.items()) or not _numbered(document):
            raise _malformed("a field of a statement has another type than it should")
        if document["leg"] not in get_args(Leg):
            raise _malformed("a statement is of no known leg")
        context = Context(**{f.name: document[f.name] for f in fields(Context)})
        return Statement(document["institution"], document["leg"], context, document["body"], document["signature"])


def _numbered(document: Mapping[str, Any]) -> bool:
    numbers = [document["round"], document["attempt"]]
    return numbers == [None, None] or all(type(n) is int and 0 <= n < 2**31 for n in numbers)


def sign_statement(seat: Seat, leg: Leg, body: Mapping[str, Any]) -> Statement:
    """The institution's signed statement; the same bytes for the same content."""
    text = _signed_bytes(seat.name, leg, seat.context, body)
    return Statement(seat.name, leg, seat.context, body, seat.key.sign(text).hex())


def require_same_statement(before: Statement | None, now: Statement) -> Statement:
    """``now``, or MaskingError E_VIEW if it differs from the statement of this leg in the institution's store, ``before``.

    Every leg of a session is answered once, durably: check this before a statement leaves.
    """
    if before is not None and before != now:
        raise MaskingError(
            "E_VIEW",
            now.institution,
            f"it is asked to {now.leg} twice in one attempt, and not the same",
            "Let the coordinator begin a new attempt.",
        )
    return now


def encode_board(statements: Iterable[Statement]) -> bytes:
    """Canonical bytes: sorted by institution and leg."""
    ordered = sorted(statements, key=lambda s: (s.institution, s.leg, s.signature))
    return canonical_json([s.document() for s in ordered])


def decode_board(data: bytes) -> list[Statement]:
    """WireError E_WIRE unless ``encode_board`` wrote it; nothing of it is verified yet."""
    if len(data) > MAX_BOARD:
        raise _malformed("it is too long for a board")
    try:
        documents = parse_json(data, MAX_BOARD)
        statements = [Statement.from_document(d) for d in documents] if isinstance(documents, list) else None
        canonical = statements is not None and encode_board(statements) == data
    except ValueError:
        raise _malformed("it is not JSON") from None
    if statements is None or not canonical:
        raise _malformed("it is not canonical")
    return statements


def read_board(cohort: Cohort, context: Context, leg: Leg, statements: Iterable[Statement]) -> dict[str, Statement]:
    """The statements by name, each of an institution of the cohort, signed by it, for this leg and session, and alone.

    MaskingError E_KEYS otherwise. How many must be there depends on the leg. The order does not matter.
    """
    found: dict[str, Statement] = {}
    for statement in statements:
        name = statement.institution
        if name not in cohort.keys:
            raise keys_error("the board", "it shows a statement of somebody who is not in the study")
        if name in found:
            raise keys_error(name, "the board shows it twice")
        if statement.leg != leg or statement.context != context:
            raise keys_error(name, "its statement is of another round, attempt, run, study or leg")
        if not signed_by(cohort.keys[name], statement.signature, _text(statement)):
            raise keys_error(name, "its statement is not signed by the key in the study")
        found[name] = statement
    return dict(sorted(found.items()))


def require_enough(cohort: Cohort, names: Iterable[str], wanted: int) -> None:
    """MaskingError E_COHORT, naming who is missing, if fewer than ``wanted`` are there."""
    there = set(names)
    if len(there) < wanted:
        absent = ", ".join(n for n in cohort.names if n not in there)
        raise MaskingError(
            "E_COHORT",
            "masked sum",
            f"{wanted} institutions are needed and {len(there)} are there; without {absent}",
            "Start the institutions named; the coordinator then begins a new attempt.",
        )


@dataclass(frozen=True)
class Adverts:
    """A verified board of adverts. view: its SHA-256. mask_keys, encryption_keys: X25519 public keys by name, hex."""

    cohort: Cohort
    context: Context
    view: str
    mask_keys: dict[str, str]
    encryption_keys: dict[str, str]

    @property
    def salt(self) -> bytes:
        return bytes.fromhex(self.view)


def advertise(seat: Seat) -> Statement:
    """Leg advertise: fresh X25519 public keys, of the run where D = 0, else of the attempt.

    Pre-condition: ``seat.secrets`` were drawn for this run or attempt.
    """
    body = {"mask": public_key(seat.secrets.mask_key(seat.context))}
    if seat.cohort.dropouts:
        body["encryption"] = public_key(seat.secrets.encryption_key(seat.context))
    return sign_statement(seat, "advertise", body)


def read_adverts(cohort: Cohort, context: Context, statements: Iterable[Statement]) -> Adverts:
    """MaskingError E_KEYS for a board that honest institutions could not have produced, E_COHORT for too few.

    All are needed where D = 0, else ``cohort.least``. No two of the keys on the board may be one.
    """
    if context.is_of_run == bool(cohort.dropouts):
        raise keys_error("the board", "it is for a run where it should be for an attempt, or the other way round")
    board = read_board(cohort, context, "advertise", statements)
    require_enough(cohort, board, cohort.least)
    wanted = ("mask", "encryption") if cohort.dropouts else ("mask",)
    if not all(has_fields(s.body, dict.fromkeys(wanted, 64)) for s in board.values()):
        raise keys_error("the board", "an advert is malformed")
    owners: dict[bytes, str] = {}
    for name, statement in board.items():
        for kind in wanted:
            if owners.setdefault(fingerprint(statement.body[kind], name), name + kind) != name + kind:
                raise keys_error(name, "it shows a key that is on the board already")
    by_kind = [{n: s.body[kind] for n, s in board.items()} if kind in wanted else {} for kind in ("mask", "encryption")]
    return Adverts(cohort, context, digest([s.document() for s in board.values()]), *by_kind)


def require_own_advert(seat: Seat, adverts: Adverts) -> None:
    """MaskingError E_VIEW if the board is another session's or lacks the institution, E_KEYS if it shows other keys."""
    if (adverts.cohort, adverts.context) != (seat.cohort, seat.context) or seat.name not in adverts.mask_keys:
        raise view_error(seat.name, "it is shown a board that it is not on")
    own = advertise(seat).body
    if own["mask"] != adverts.mask_keys[seat.name] or own.get("encryption") != adverts.encryption_keys.get(seat.name):
        raise keys_error(seat.name, "the board shows other keys of it than its own")


def has_fields(body: Mapping[str, Any], lengths: Mapping[str, int]) -> bool:
    """Whether ``body`` holds exactly these fields, each of the given number of lower-case hex digits."""
    return set(body) == set(lengths) and all(is_hex(body[name], size) for name, size in lengths.items())


def is_hex(value: Any, digits: int) -> bool:
    return isinstance(value, str) and len(value) == digits and set(value) <= _HEX


def keys_error(where: str, what: str) -> MaskingError:
    return MaskingError("E_KEYS", where, what, "Stop and find out who made it; nothing that is secret was revealed.")


def view_error(where: str, what: str) -> MaskingError:
    return MaskingError("E_VIEW", where, what, "Stop: the coordinator does not show everybody the same.")


def _signed_document(institution: str, leg: str, context: Context, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"institution": institution, "leg": leg, **context.document(), "body": dict(body)}


def _signed_bytes(institution: str, leg: str, context: Context, body: Mapping[str, Any]) -> bytes:
    return _DOMAIN + canonical_json(_signed_document(institution, leg, context, body))


def _text(statement: Statement) -> bytes:
    return _signed_bytes(statement.institution, statement.leg, statement.context, statement.body)


def _malformed(what: str) -> WireError:
    return WireError("E_WIRE", "board", what, "Update both sides to the same version.")
