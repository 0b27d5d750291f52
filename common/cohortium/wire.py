"""Canonical, versioned bytes for the messages of a round.

A message is the magic, a header length (uint32, little-endian), a canonical JSON header and a payload. An institution's
answer is a reply under a receipt, or a refusal. Nothing else travels: no number of rows, no loss, no time, no text of
an exception. An answer's length follows from the study.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortium.canonical import canonical_json
from cohortium.errors import CODES, WireError
from cohortium.receipt import Receipt

MAGIC = b"COH2"
MAX_HEADER = 4096
MAX_REQUEST_HEADER = 2 << 20  # consents and receipts of a thousand institutions
MAX_MESSAGE = 1 << 30
_HEX = frozenset("0123456789abcdef")
_ROUND: dict[str, type] = {"study": str, "run": str, "round": int, "attempt": int}


@dataclass(frozen=True)
class Request:
    """The coordinator asks for the study's round ``round``; ``state`` is the public model state it is asked at.

    consents: every institution's signature on the study. receipts: the newest of each institution.
    """

    study: str
    run: str
    round: int
    attempt: int
    state: bytes = b""
    consents: Mapping[str, str] = field(default_factory=dict)
    receipts: tuple[Receipt, ...] = ()

    @property
    def question(self) -> str:
        """SHA-256 of what is asked, which consents and receipts are not part of."""
        asked = [self.study, self.run, self.round, self.attempt, hashlib.sha256(self.state).hexdigest()]
        return hashlib.sha256(canonical_json(asked)).hexdigest()


@dataclass(frozen=True)
class Reply:
    """One institution's noised answer, (width,) int64.

    salt: 32 random bytes in hex. Receipts are public, and so is the digest in them: without a salt, whoever has the sum
    of a few small numbers could try out which ones the message held.
    """

    study: str
    run: str
    round: int
    attempt: int
    institution: str
    salt: str
    values: npt.NDArray[np.int64]


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
    header = {k: getattr(request, k) for k in _ROUND}
    receipts = [asdict(r) for r in request.receipts]
    return _pack({"type": "request", **header, "consents": dict(request.consents), "receipts": receipts}, request.state)


def decode_request(data: bytes) -> Request:
    """WireError E_WIRE unless ``data`` is exactly what ``encode_request`` writes."""
    header, payload = _unpack(data, "request", {**_ROUND, "consents": dict, "receipts": list}, MAX_REQUEST_HEADER)
    consents, receipts = header.pop("consents"), header.pop("receipts")
    if not all(isinstance(v, str) for v in consents.values()):
        raise _malformed("its consents are not signatures")
    return Request(**header, state=payload, consents=consents, receipts=tuple(_receipt(r) for r in receipts))


def encode_reply(reply: Reply) -> bytes:
    """The bytes that are charged and kept; they travel in an answer."""
    header = {k: v for k, v in vars(reply).items() if k != "values"}
    return _pack({"type": "reply", **header}, np.ascontiguousarray(reply.values, "<i8").tobytes())


def encode_answer(reply: bytes, receipt: Receipt) -> bytes:
    """A reply's bytes under its receipt."""
    return _pack({"type": "answer", "receipt": asdict(receipt)}, reply)


def encode_refusal(refusal: Refusal) -> bytes:
    return _pack({"type": "refusal", **asdict(refusal)}, b"")


def decode_answer(data: bytes, width: int) -> Answer | Refusal:
    """An answer of exactly ``width`` integers whose receipt is about it, or a refusal; WireError E_WIRE for all else.

    Whose key signed the receipt is for the reader to check.
    """
    if _header(data, MAX_HEADER)[0].get("type") == "refusal":
        header, payload = _unpack(data, "refusal", {"institution": str, "code": str})
        if payload or header["code"] not in CODES:
            raise _malformed("a refusal carries more than a known code")
        return Refusal(**header)
    header, inner = _unpack(data, "answer", {"receipt": dict})
    receipt, reply = _receipt(header["receipt"]), decode_reply(inner, width)
    if receipt.institution != reply.institution or receipt.message != hashlib.sha256(inner).hexdigest():
        raise _malformed("its receipt is another message's")
    return Answer(reply, receipt)


def decode_reply(data: bytes, width: int) -> Reply:
    header, payload = _unpack(data, "reply", {**_ROUND, "institution": str, "salt": str})
    if len(header["salt"]) != 64 or not set(header["salt"]) <= _HEX:
        raise _malformed("its salt is not 32 bytes")
    if len(payload) != 8 * width:
        raise _malformed("the answer does not have the query's width")
    return Reply(**header, values=np.frombuffer(payload, "<i8").astype(np.int64))


def _pack(header: dict[str, Any], payload: bytes) -> bytes:
    text = canonical_json(header)
    return b"".join((MAGIC, struct.pack("<I", len(text)), text, payload))


def _receipt(document: Any) -> Receipt:
    names = ("institution", "message", "head", "signature")
    if not isinstance(document, dict) or {k: type(v) for k, v in document.items()} != dict.fromkeys(names, str):
        raise _malformed("a receipt has other fields than it should")
    return Receipt(**document)


def _header(data: bytes, longest: int) -> tuple[dict[str, Any], bytes]:
    if data[:4] != MAGIC or len(data) < 8:
        raise _malformed("it is not a message of this version")
    (length,) = struct.unpack("<I", data[4:8])
    if length > longest or len(data) < 8 + length or len(data) > MAX_MESSAGE:
        raise _malformed("its lengths are out of range")
    try:
        header = json.loads(data[8 : 8 + length])
        canonical = isinstance(header, dict) and canonical_json(header) == data[8 : 8 + length]
    except (ValueError, RecursionError):  # no JSON, NaN, half a surrogate pair, or nested beyond measure
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
    return WireError("E_WIRE", "message", what, "Update both sides to the same version.")
