"""Writes ``wire.json``: messages built byte by byte, without the code they test.

    python tests/vectors/make_wire.py

Change it only together with the version of the messages: what stands in ``wire.json`` is what every version must read.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MAGIC = b"COH2"
STUDY, RUN, SALT = "5f" * 32, "ab" * 16, "5a" * 32
VALUES = [0, -1, 1, 2**62, -(2**63), 2**63 - 1]
PAYLOAD = struct.pack("<6q", *VALUES)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ROUND = {"study": STUDY, "run": RUN, "round": 3, "attempt": 1}
REPLY = {**ROUND, "type": "reply", "institution": "north", "salt": SALT, "numbers": "int64", "statement": {}}
SAID = {"type": "said", "statement": {"institution": "north", "body": {"keys": ["aa", "bb"]}, "signature": "0d" * 64}}
LATER, EARLIER = "the magic of a later version", "the magic of version 1"
REFUSAL = {"type": "refusal", "institution": "north", "code": "E_BUDGET"}


def text(header: Any) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def framed(header: bytes, payload: bytes = b"", magic: bytes = MAGIC, length: int | None = None) -> bytes:
    return magic + struct.pack("<I", len(header) if length is None else length) + header + payload


def told_by(message: bytes) -> dict[str, Any]:
    """A sound message's own header; of all else the round that is asked."""
    try:
        header = json.loads(message[8 : 8 + struct.unpack("<I", message[4:8])[0]])
        return header if isinstance(header, dict) and set(ROUND) <= set(header) else ROUND
    except (ValueError, struct.error, RecursionError):
        return ROUND


def receipt(message: bytes, institution: str = "north", head: str = "1e" * 32) -> dict[str, str]:
    to = [told_by(message)[k] for k in ("study", "run", "round", "attempt")]
    about = hashlib.sha256(json.dumps(to, separators=(",", ":")).encode()).hexdigest()
    digest = hashlib.sha256(message).hexdigest()
    fields = {"about": about, "institution": institution, "message": digest, "head": head}
    return {**fields, "signature": KEY.sign(b"cohortium receipt 1\n" + text(fields)).hex()}


def receipt_of_another_attempt(message: bytes) -> dict[str, str]:
    """Signed as it should be, but about something else."""
    fields = {k: v for k, v in receipt(message).items() if k != "signature"} | {"about": "77" * 32}
    return {**fields, "signature": KEY.sign(b"cohortium receipt 1\n" + text(fields)).hex()}


def answered(reply: bytes, **changes: Any) -> bytes:
    """A reply, sound or not, under a receipt that is genuine unless changed."""
    return framed(text({"type": "answer", "receipt": receipt(reply) | changes}), reply)


REQUEST = {
    "type": "request",
    **ROUND,
    "leg": "answer",
    "board": 0,
    "consents": {"north": "0c" * 64, "Köln": "1c" * 64},
    "receipts": [receipt(b"an earlier answer"), receipt(b"another", "south")],
}
FIRST = {**REQUEST, "round": 0, "attempt": 0, "consents": {}, "receipts": []}


def good() -> list[dict[str, Any]]:
    requests = [
        ("a request without a state", REQUEST, b""),
        ("a request with a state", {**REQUEST, "round": 0, "attempt": 0}, b"\x00\xff\x10"),
        ("the first request of all", FIRST, b""),
        ("the last round there can be", {**REQUEST, "round": 2**31 - 1}, b""),
        ("an identifier of one digit", {**REQUEST, "run": "0"}, b""),
        ("a request of every leg: advertise", {**REQUEST, "leg": "advertise"}, b""),
        ("a request of every leg: share", {**REQUEST, "leg": "share", "board": 3}, b"all"),
        ("a request of every leg: mask", {**REQUEST, "leg": "mask", "board": 2}, b"\x00\xffstate"),
        ("a request of every leg: confirm", {**REQUEST, "leg": "confirm", "board": 1}, b"b"),
        ("a request of every leg: reveal", {**REQUEST, "leg": "reveal"}, b""),
    ]
    found = [{"name": n, "request": h, "payload": p.hex(), "message": framed(text(h), p).hex()} for n, h, p in requests]
    for name, header, values in (
        ("a reply", REPLY, VALUES),
        ("a reply of nothing", REPLY, []),
        ("a reply of the last round", {**REPLY, "round": 2**31 - 1, "attempt": 0}, [7]),
    ):
        reply = framed(text(header), struct.pack(f"<{len(values)}q", *values))
        found.append({"name": name, "reply": header, "values": values, "message": answered(reply).hex()})
    for numbers, code, largest in (("uint32", "I", 2**32 - 1), ("uint64", "Q", 2**64 - 1)):
        header, values = {**REPLY, "numbers": numbers, "statement": {"said": "so"}}, [0, 1, largest]
        reply = framed(text(header), struct.pack(f"<3{code}", *values))
        named = {"name": f"a masked reply in {numbers}", "reply": header, "values": values}
        found.append({**named, "message": answered(reply).hex()})
    found.append({"name": "a statement", "said": SAID["statement"], "message": framed(text(SAID)).hex()})
    beyond = framed(text({**REPLY, "institution": "Köln"}), PAYLOAD[:8])
    kept = receipt(beyond, "Köln")
    message = framed(text({"type": "answer", "receipt": kept}), beyond)
    named = {"name": "a reply from an institution beyond ASCII", "reply": {**REPLY, "institution": "Köln"}}
    found.append({**named, "values": VALUES[:1], "message": message.hex()})
    parts = [framed(text(FIRST)), framed(text(REFUSAL)), b""]
    bundle = framed(text({"type": "bundle", "lengths": [len(p) for p in parts]}), b"".join(parts))
    found.append({"name": "a bundle", "bundle": [p.hex() for p in parts], "message": bundle.hex()})
    for name, header in {
        "a refusal": REFUSAL,
        "a refusal of a relay": {**REFUSAL, "institution": ""},
        "a refusal for a reason that no version knows yet": {**REFUSAL, "code": "E_NOT_YET_KNOWN"},
    }.items():
        found.append({"name": name, "refusal": header, "message": framed(text(header)).hex()})
    return found


def spelled(header: dict[str, Any], payload: bytes) -> dict[str, bytes]:
    """One message in every wrong spelling."""
    one = text(header)
    inserted = {name: text({"a": 0, **header}).replace(b'"a":0', spelling) for name, spelling in _WRONG.items()}
    return {
        LATER: framed(one, payload, b"COH9"),
        EARLIER: framed(one, payload, b"COH1"),
        "a letter for a version": framed(one, payload, b"COHX"),
        "lower-case magic": framed(one, payload, b"coh2"),
        "header longer than the message": framed(one, length=len(one) + 1),
        "header of four gigabytes": framed(one, payload, length=2**32 - 1),
        "header cut by a byte": framed(one, payload, length=len(one) - 1),
        "spaces": framed(json.dumps(header, sort_keys=True, ensure_ascii=False).encode(), payload),
        "keys out of order": framed(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode(), payload),
        "a name in capitals": framed(one.replace(b'"type"', b'"Type"'), payload),
        "an escaped letter": framed(one.replace(b'"north"', b'"\\u006eorth"').replace(b'"type"', b'"t\\u0079pe"'), payload),
        "one more field": framed(text({**header, "rows": 100}), payload),
        "a number for a type": framed(text({**header, "type": 7}), payload),
        "another type": framed(text({**header, "type": "gossip"}), payload),
        "no type": framed(text({k: v for k, v in header.items() if k != "type"}), payload),
        "UTF-16": framed(one.decode().encode("utf-16"), payload),
        "a byte order mark": framed(b"\xef\xbb\xbf" + one, payload),
        "a line end": framed(one + b"\n", payload),
        **{name: framed(spelling, payload) for name, spelling in inserted.items()},
    }  # fmt: skip


_WRONG = {
    "a key twice": b'"a":1,"a":2',
    "not a number": b'"a":NaN',
    "infinite": b'"a":Infinity',
    "half a surrogate pair": b'"a":"\\ud800"',
    "not UTF-8": b'"a":"\xff"',
    "a number of 5000 digits": b'"a":' + b"9" * 5000,
}
_HEX: list[Any] = ["", "xyz", "../a", 7, None]
_FIELDS: dict[str, list[Any]] = {
    "round": [-1, 2**31, 2**63, 3.0, True, "3", None],
    "attempt": [-1, 2**31, 1.0, False],
    "run": [*_HEX, RUN.upper(), RUN * 3],
    "study": [*_HEX, "G" * 64, STUDY + "0"],
}


def with_fields(header: dict[str, Any], wrong: dict[str, list[Any]]) -> dict[str, dict[str, Any]]:
    """The header with every wrong value of every field, and without each."""
    changed = {f"{n} is {json.dumps(v)[:20]}": {**header, n: v} for n, values in wrong.items() for v in values}
    return changed | {f"no {n}": {k: v for k, v in header.items() if k != n} for n in wrong}


def shapeless() -> dict[str, bytes]:
    return {
        "nothing": b"",
        "magic alone": MAGIC,
        "no length": MAGIC + b"\0\0\0",
        "no header": framed(b""),
        "a list": framed(b"[]"),
        "null": framed(b"null"),
        "an empty header": framed(b"{}"),
        "nested beyond measure": framed(b'{"a":' + b"[" * 1500 + b"]" * 1500 + b"}"),
        "pickle": b"\x80\x04\x95" + bytes(21),
    }


def bad_requests() -> dict[str, bytes]:
    genuine = receipt(b"x")
    receipts: list[Any] = [
        "x",
        {},
        None,
        genuine | {"rows": 5},
        genuine | {"head": 1},
        {k: v for k, v in genuine.items() if k != "head"},
        [genuine],
    ]
    wrong = _FIELDS | {
        "consents": [None, [], "x", {"north": 1}, {"north": None}, {"north": ["x"]}],
        "receipts": [None, {}, "x", genuine],
        "leg": ["", "gossip", "Answer", None, 1],
        "board": [-1, 1, 2**63, 0.0, False, "", None],
    }
    headers = with_fields(REQUEST, wrong)
    headers |= {f"receipt {k} is none": {**REQUEST, "receipts": [genuine, r]} for k, r in enumerate(receipts)}
    found = {f"request: {n}": framed(text(h)) for n, h in headers.items()}
    found |= {f"request: {n}": m for n, m in (spelled(REQUEST, b"") | shapeless()).items()}
    reply = framed(text(REPLY), PAYLOAD)
    return found | {"a reply for a request": reply, "an answer for a request": answered(reply)}


def bad_answers() -> dict[str, bytes]:
    found = {f"answer: {n}": m for n, m in shapeless().items()}
    salts = {"salt": ["", "5a", SALT.upper(), SALT + "00", "zz" * 32, 7, None]}
    masked = {"numbers": ["", "uint64", "float64", "object", "<i8", "INT64", 8, None], "statement": [None, [], "", 7]}
    for name, header in with_fields(REPLY, _FIELDS | {"institution": [7, None]} | salts | masked).items():
        found[f"reply: {name}"] = answered(framed(text(header), PAYLOAD))
    found |= {f"reply: {name}": answered(m) for name, m in spelled(REPLY, PAYLOAD).items()}
    for name, payload in {
        "shorter by a byte": PAYLOAD[:-1],
        "shorter by a number": PAYLOAD[:-8],
        "longer by a number": PAYLOAD + PAYLOAD[:8],
        "none": b"",
    }.items():
        found[f"reply: payload {name}"] = answered(framed(text(REPLY), payload))
    return found | bad_receipts() | bad_refusals()


def bad_statements() -> dict[str, bytes]:
    found = {f"statement: {n}": m for n, m in (shapeless() | spelled(SAID, b"")).items()}
    for value in (None, [], "x", 7):
        found[f"statement: is {json.dumps(value)}"] = framed(text({**SAID, "statement": value}))
    found["statement: with a payload"] = framed(text(SAID), b"n=100")
    return found | {"an answer for a statement": answered(framed(text(REPLY), PAYLOAD))}


def bad_bundles() -> dict[str, bytes]:
    lengths: dict[str, Any] = {
        "of nothing": [],
        "of five": [0, 0, 0, 0, 0],
        "shorter than it says": [4],
        "longer than it says": [2],
        "with a length below zero": [4, -1],
        "with half a length": [1.5, 1.5],
        "with true for a length": [True, 2],
        "with a text for a length": ["3"],
        "with no list": 3,
    }
    found = {f"bundle: {n}": framed(text({"type": "bundle", "lengths": k}), b"abc") for n, k in lengths.items()}
    found["bundle: one more field"] = framed(text({"type": "bundle", "lengths": [3], "rows": 100}), b"abc")
    return found | {f"bundle: {n}": m for n, m in shapeless().items() if n != "an empty header"}


def bad_receipts() -> dict[str, bytes]:
    reply = framed(text(REPLY), PAYLOAD)
    other = framed(text({**REPLY, "attempt": 0}), PAYLOAD)
    mine = receipt(reply)
    headers: dict[str, Any] = {
        "none": {},
        "null": {"receipt": None},
        "a text": {"receipt": "x"},
        "of another message": {"receipt": receipt(other)},
        "of another institution": {"receipt": receipt(reply, "south")},
        "with another institution's name": {"receipt": mine | {"institution": "south"}},
        "with the digest in capitals": {"receipt": mine | {"message": mine["message"].upper()}},
        "with a number of rows": {"receipt": mine | {"rows": 100}},
        "of another attempt": {"receipt": receipt_of_another_attempt(reply)},
        "without what it is about": {"receipt": {k: v for k, v in mine.items() if k != "about"}},
        "without a head": {"receipt": {k: v for k, v in mine.items() if k != "head"}},
        "whose head is a number": {"receipt": mine | {"head": 5}},
        "twice": {"receipt": [mine, mine]},
        "beside another field": {"receipt": mine, "seconds": 0.2},
    }
    found = {f"receipt: {n}": framed(text({"type": "answer", **h}), reply) for n, h in headers.items()}
    found |= {f"answer: {n}": m for n, m in spelled({"type": "answer", "receipt": mine}, reply).items()}
    found["receipt: of a message that was then touched"] = answered(reply)[:-1] + b"\x00"
    found["an answer within an answer"] = answered(answered(reply))
    found["a reply without a receipt"] = reply
    found["a request for an answer"] = framed(text(REQUEST))
    return found


def bad_refusals() -> dict[str, bytes]:
    headers: dict[str, Any] = {
        "an unknown code": {"code": "E_AGE_47"},
        "no code": {"code": ""},
        "with a text": {"text": "47 rows"},
        "with a receipt": {"receipt": receipt(b"")},
        "code is a list": {"code": ["E_BUDGET"]},
        "code is a number": {"code": 47},
        "institution is null": {"institution": None},
    }
    found = {f"refusal: {n}": framed(text({**REFUSAL, **h})) for n, h in headers.items()}
    found["refusal: with a payload"] = framed(text(REFUSAL), b"n=100")
    found["refusal: within an answer"] = answered(framed(text(REFUSAL)))
    return found | {f"refusal: {n}": m for n, m in spelled(REFUSAL, b"").items()}


def main() -> None:
    kinds = {"request": bad_requests, "answer": bad_answers, "said": bad_statements, "bundle": bad_bundles}
    bad = [
        {"name": n, "of": kind, "code": "E_VERSION" if n.endswith((LATER, EARLIER)) else "E_WIRE", "message": m.hex()}
        for kind, made in kinds.items()
        for n, m in made().items()
    ]
    document = {"format": MAGIC.decode(), "good": good(), "bad": bad}
    path = Path(__file__).with_name("wire.json")
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
