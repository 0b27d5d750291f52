"""Canonical, versioned bytes for the messages of a round.

A message is the magic, a header length (uint32, little-endian), a canonical JSON header and a payload. An institution's
answer is a reply under a receipt, a signed statement of the masking protocol, or a refusal. Nothing else travels: no
number of rows, no loss, no time, no text of an exception. An answer's length follows from the study. Several messages
for one exchange go in a bundle.

The magic is ``COH`` and a digit, the version. The coordinator asks in the newest version it speaks, an institution answers
in the version it is asked in, and what is of no version spoken here is E_VERSION: so institutions are updated first. One
message is the same in every version for ever: a refusal, which is written as version 2 and may carry codes that its reader
does not know. What was kept in an older version (``VERSIONS``) is sent again as it is (docs/upgrade.md).
"""

from __future__ import annotations

import hashlib
import itertools
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortium.errors import WireError
from cohortium.ledger.receipt import Receipt, about
from cohortium.system.canonical import canonical_json
from cohortium.system.documents import parse_json

FAMILY = b"COH"
MAGIC = b"COH2"  # of version 2, and of refusals in all versions
VERSIONS: tuple[int, ...] = (2,)  # that are spoken here, the newest first
MAX_HEADER = 4096
MAX_REQUEST_HEADER = 2 << 20  # consents and receipts of a thousand institutions
MAX_MESSAGE = 1 << 30
MAX_STATEMENT = 1 << 20
MAX_BUNDLE = 4
Values = npt.NDArray[np.int64] | npt.NDArray[np.uint32] | npt.NDArray[np.uint64]
_HEX = frozenset("0123456789abcdef")
_CODE = re.compile(r"E_[A-Z_]{1,40}")
LEGS = ("answer", "advertise", "share", "mask", "confirm", "reveal", "end")
_ROUND: dict[str, type] = {"study": str, "run": str, "round": int, "attempt": int}


@dataclass(frozen=True)
class Request:
    """The coordinator asks for the study's round ``round``; ``state`` is the public model state it is asked at.

    consents: every institution's signature on the study. receipts: the newest of each institution.
    leg: ``answer``, or a leg of the masking protocol (masking/); then ``board`` holds the institutions' statements of the
    legs before; or ``end``: the coordinator has the run's last sum and asks for nothing again. version: which it is asked in, and is to be answered in.
    """

    study: str
    run: str
    round: int
    attempt: int
    state: bytes = b""
    consents: Mapping[str, str] = field(default_factory=dict)
    receipts: tuple[Receipt, ...] = ()
    leg: str = "answer"
    board: bytes = b""
    version: int = field(default_factory=lambda: VERSIONS[0])

    @cached_property
    def question(self) -> str:
        """SHA-256 of what is asked, which consents, receipts and boards are not part of: the same for every institution."""
        asked = [self.study, self.run, self.round, self.attempt, hashlib.sha256(self.state).hexdigest()]
        return hashlib.sha256(canonical_json(asked)).hexdigest()

    @cached_property
    def identity(self) -> str:
        """SHA-256 of the question and of the board it is answered under: an attempt is answered for one of them."""
        asked = [self.question, hashlib.sha256(self.board).hexdigest()]
        return hashlib.sha256(canonical_json(asked)).hexdigest()


@dataclass(frozen=True)
class Reply:
    """One institution's answer: noised, (width,) int64, or masked, (width,) uint32 or uint64.

    salt: 32 random bytes in hex. Receipts are public, and so is the digest in them: without a salt, whoever has the sum
    of a few small numbers could try out which ones the message held.
    statement: under masks that somebody may drop out of, the institution's signed word on what it has masked for.
    """

    study: str
    run: str
    round: int
    attempt: int
    institution: str
    salt: str
    values: Values
    statement: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A reply, and the institution's receipt that it was charged before it left."""

    reply: Reply
    receipt: Receipt


@dataclass(frozen=True)
class Refusal:
    """One institution's error, as a code and nothing else."""

    institution: str
    code: str


def encode_request(request: Request) -> bytes:
    header = {
        "type": "request",
        **{k: getattr(request, k) for k in (*_ROUND, "leg")},
        "consents": dict(request.consents),
        "receipts": [asdict(r) for r in request.receipts],
        "board": len(request.board),
    }
    return _pack(header, request.board + request.state, request.version)


def decode_request(data: bytes) -> Request:
    """WireError E_WIRE unless ``data`` is exactly what ``encode_request`` writes."""
    wanted = {**_ROUND, "leg": str, "consents": dict, "receipts": list, "board": int}
    header, payload = _unpack(data, "request", wanted, MAX_REQUEST_HEADER)
    consents, receipts = header.pop("consents"), header.pop("receipts")
    if not all(isinstance(v, str) for v in consents.values()):
        raise _malformed("its consents are not signatures")
    length = header.pop("board")
    if not 0 <= length <= len(payload) or header["leg"] not in LEGS:
        raise _malformed("its leg or the length of its board is out of range")
    return Request(
        **header,
        state=payload[length:],
        board=payload[:length],
        consents=consents,
        receipts=tuple(_receipt(r) for r in receipts),
        version=version_of(data),
    )


def encode_reply(reply: Reply, version: int | None = None) -> bytes:
    """The bytes that are charged and kept; they travel in an answer."""
    header = {k: v for k, v in vars(reply).items() if k != "values"}
    little = reply.values.dtype.newbyteorder("<")
    payload = np.ascontiguousarray(reply.values, little).tobytes()
    return _pack({"type": "reply", "numbers": reply.values.dtype.name, **header}, payload, version)


def encode_answer(reply: bytes, receipt: Receipt, version: int | None = None) -> bytes:
    """A reply's bytes, of whichever version they were kept in, under its receipt."""
    return _pack({"type": "answer", "receipt": asdict(receipt)}, reply, version)


def answer_to(message: Request | Reply) -> str:
    """Which study, run, round and attempt a message belongs to, as in its receipt."""
    return about(message.study, message.run, message.round, message.attempt)


def encode_refusal(refusal: Refusal) -> bytes:
    """The same bytes in every version there will ever be."""
    return _framed(MAGIC, {"type": "refusal", **asdict(refusal)}, b"")


def encode_statement(statement: Mapping[str, Any], version: int | None = None) -> bytes:
    """A signed statement of the masking protocol, as a document."""
    return _pack({"type": "said", "statement": dict(statement)}, b"", version)


def encode_bundle(messages: Sequence[bytes], version: int | None = None) -> bytes:
    return _pack({"type": "bundle", "lengths": [len(m) for m in messages]}, b"".join(messages), version)


def decode_bundle(data: bytes) -> list[bytes]:
    """One to ``MAX_BUNDLE`` messages; a message that is no bundle is the only one of its own."""
    if data[:4] != MAGIC:
        _require_spoken(data)
    if _parsed(data, MAX_REQUEST_HEADER)[0].get("type") != "bundle":
        return [data]
    header, payload = _unpack(data, "bundle", {"lengths": list})
    lengths = header["lengths"]
    sound = 1 <= len(lengths) <= MAX_BUNDLE and all(type(n) is int and n >= 0 for n in lengths)
    if not sound or sum(lengths) != len(payload):
        raise _malformed("its lengths are out of range")
    ends = list(itertools.accumulate(lengths))
    return [payload[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def decode_answer(data: bytes, width: int, numbers: npt.DTypeLike = np.int64) -> Answer | Refusal:
    """An answer of exactly ``width`` such numbers whose receipt is about it, or a refusal; WireError E_WIRE for all else.

    Whose key signed the receipt is for the reader to check.
    """
    if (refusal := refused(data)) is not None:
        return refusal
    header, inner = _unpack(data, "answer", {"receipt": dict})
    receipt, reply = _receipt(header["receipt"]), decode_reply(inner, width, numbers)
    expected = (reply.institution, hashlib.sha256(inner).hexdigest(), answer_to(reply))
    if (receipt.institution, receipt.message, receipt.about) != expected:
        raise _malformed("its receipt is another message's")
    return Answer(reply, receipt)


def decode_statement(data: bytes) -> dict[str, Any] | Refusal:
    """The document of a statement, of which nothing is verified yet, or a refusal; WireError E_WIRE for all else."""
    if (refusal := refused(data)) is not None:
        return refusal
    header, payload = _unpack(data, "said", {"statement": dict}, MAX_STATEMENT)
    if payload:
        raise _malformed("a statement carries more than itself")
    statement: dict[str, Any] = header["statement"]
    return statement


def refused(data: bytes) -> Refusal | None:
    """The refusal that an answer is, or None; WireError E_WIRE for what is no message, or a refusal with more than a code."""
    header, payload = _parsed(data, MAX_STATEMENT) if data[:4] == MAGIC else _header(data, MAX_STATEMENT)
    if data[:4] != MAGIC or header.get("type") != "refusal":
        return None
    wanted = {"type": str, "institution": str, "code": str}
    if {k: type(v) for k, v in header.items()} != wanted or len(data) > 8 + MAX_HEADER:
        raise _malformed("its header has other fields than it should")
    if payload or not _CODE.fullmatch(header["code"]):
        raise _malformed("a refusal carries more than a code")
    return Refusal(header["institution"], header["code"])


def decode_reply(data: bytes, width: int, numbers: npt.DTypeLike = np.int64) -> Reply:
    header, payload = _unpack(
        data, "reply", {**_ROUND, "institution": str, "salt": str, "numbers": str, "statement": dict}
    )
    if len(header["salt"]) != 64 or not set(header["salt"]) <= _HEX:
        raise _malformed("its salt is not 32 bytes")
    wanted = np.dtype(numbers)
    if header.pop("numbers") != wanted.name or len(payload) != wanted.itemsize * width:
        raise _malformed("the answer does not have the query's width and numbers")
    return Reply(**header, values=np.frombuffer(payload, wanted.newbyteorder("<")).astype(wanted))


def version_of(data: bytes) -> int:
    """Which version a message is of, spoken here or not; WireError E_WIRE for what is no message of any."""
    if data[:3] != FAMILY or not data[3:4].isdigit() or len(data) < 8:
        raise _malformed("it is no message")
    return int(data[3:4])


def _pack(header: dict[str, Any], payload: bytes, version: int | None) -> bytes:
    """A message of ``version``, by default the newest."""
    return _framed(FAMILY + b"%d" % (version or VERSIONS[0]), header, payload)


def _framed(magic: bytes, header: dict[str, Any], payload: bytes) -> bytes:
    text = canonical_json(header)
    return b"".join((magic, struct.pack("<I", len(text)), text, payload))


def _receipt(document: Any) -> Receipt:
    names = ("institution", "message", "head", "signature", "about")
    if not isinstance(document, dict) or {k: type(v) for k, v in document.items()} != dict.fromkeys(names, str):
        raise _malformed("a receipt has other fields than it should")
    return Receipt(**document)


def _require_spoken(data: bytes) -> None:
    if (version := version_of(data)) not in VERSIONS:
        side = "this side" if version > VERSIONS[0] else "the other side"
        spoken = ", ".join(map(str, VERSIONS))
        raise WireError(
            "E_VERSION", "message", f"it is of version {version}, spoken here is {spoken}", f"Update {side}."
        )


def _header(data: bytes, longest: int) -> tuple[dict[str, Any], bytes]:
    _require_spoken(data)
    return _parsed(data, longest)


def _parsed(data: bytes, longest: int) -> tuple[dict[str, Any], bytes]:
    """Header and payload, as they are framed in every version."""
    version_of(data)
    (length,) = struct.unpack("<I", data[4:8])
    if length > longest or len(data) < 8 + length or len(data) > MAX_MESSAGE:
        raise _malformed("its lengths are out of range")
    try:
        header = parse_json(data[8 : 8 + length], longest)
        canonical = isinstance(header, dict) and canonical_json(header) == data[8 : 8 + length]
    except ValueError:
        raise _malformed("its header is not JSON") from None
    if not canonical:
        raise _malformed("its header is not canonical")
    return header, data[8 + length :]


def _unpack(data: bytes, kind: str, wanted: dict[str, type], longest: int = MAX_HEADER) -> tuple[dict[str, Any], bytes]:
    header, payload = _header(data, longest)
    if header.pop("type", None) != kind or {k: type(v) for k, v in header.items()} != wanted:
        raise _malformed("its header has other fields than it should")
    for name in ("study", "run"):
        if name in header and not (header[name] and set(header[name]) <= _HEX and len(header[name]) <= 64):
            raise _malformed(f"its {name} is not an identifier")
    if any(not 0 <= header.get(name, 0) < 2**31 for name in ("round", "attempt")):
        raise _malformed("its round is out of range")
    return header, payload


def _malformed(what: str) -> WireError:
    return WireError("E_WIRE", "message", what, "Ask again; one side, or what lies between them, is faulty.")
