"""Canonical, versioned bytes for the two messages of a round.

A message is the magic, a header length (uint32, little-endian), a canonical JSON header and a payload. Nothing else
travels: no number of rows, no loss, no time, no text of an exception. A reply's length follows from the study.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortium.canonical import canonical_json
from cohortium.errors import CODES, WireError

MAGIC = b"COH1"
MAX_HEADER = 4096
MAX_STATE = 1 << 30
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Request:
    """The coordinator asks for the study's round ``round``; ``state`` is the public model state it is asked at."""

    study: str
    run: str
    round: int
    attempt: int
    state: bytes = b""


@dataclass(frozen=True)
class Reply:
    """One institution's noised answer, (width,) int64."""

    study: str
    run: str
    round: int
    attempt: int
    institution: str
    values: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Refusal:
    """One institution's error, as a code and nothing else."""

    institution: str
    code: str


def encode_request(request: Request) -> bytes:
    header = {k: v for k, v in asdict(request).items() if k != "state"}
    return _pack({"type": "request", **header}, request.state)


def decode_request(data: bytes) -> Request:
    """WireError E_WIRE unless ``data`` is exactly what ``encode_request`` writes."""
    header, payload = _unpack(data, "request", {"study": str, "run": str, "round": int, "attempt": int})
    return Request(**header, state=payload)


def encode_reply(reply: Reply) -> bytes:
    header = {k: v for k, v in asdict(reply).items() if k != "values"}
    return _pack({"type": "reply", **header}, np.ascontiguousarray(reply.values, "<i8").tobytes())


def encode_refusal(refusal: Refusal) -> bytes:
    return _pack({"type": "refusal", **asdict(refusal)}, b"")


def decode_answer(data: bytes, width: int) -> Reply | Refusal:
    """A reply of exactly ``width`` integers, or a refusal; WireError E_WIRE for anything else."""
    if _kind(data) == "refusal":
        header, payload = _unpack(data, "refusal", {"institution": str, "code": str})
        if payload or header["code"] not in CODES:
            raise _malformed("a refusal carries more than a known code")
        return Refusal(**header)
    wanted = {"study": str, "run": str, "round": int, "attempt": int, "institution": str}
    header, payload = _unpack(data, "reply", wanted)
    if len(payload) != 8 * width:
        raise _malformed("the answer does not have the query's width")
    return Reply(**header, values=np.frombuffer(payload, "<i8").astype(np.int64))


def _pack(header: dict[str, Any], payload: bytes) -> bytes:
    text = canonical_json(header)
    return MAGIC + struct.pack("<I", len(text)) + text + payload


def _kind(data: bytes) -> Any:
    return _header(data)[0].get("type")


def _header(data: bytes) -> tuple[dict[str, Any], bytes]:
    if data[:4] != MAGIC or len(data) < 8:
        raise _malformed("it is not a message of this version")
    (length,) = struct.unpack("<I", data[4:8])
    if length > MAX_HEADER or len(data) < 8 + length or len(data) > MAX_STATE:
        raise _malformed("its lengths are out of range")
    try:
        header = json.loads(data[8 : 8 + length])
        canonical = isinstance(header, dict) and canonical_json(header) == data[8 : 8 + length]
    except (ValueError, RecursionError):  # no JSON, NaN, half a surrogate pair, or nested beyond measure
        raise _malformed("its header is not JSON") from None
    if not canonical:
        raise _malformed("its header is not canonical")
    return header, data[8 + length :]


def _unpack(data: bytes, kind: str, wanted: dict[str, type]) -> tuple[dict[str, Any], bytes]:
    header, payload = _header(data)
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
