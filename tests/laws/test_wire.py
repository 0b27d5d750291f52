"""The bytes of the messages: committed vectors, well-formed and not, and round trips."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from effort import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cohortium.errors import CODES, WireError
from cohortium.federation.wire import (
    LEGS,
    MAGIC,
    MAX_BUNDLE,
    MAX_HEADER,
    MAX_REQUEST_HEADER,
    Answer,
    Refusal,
    Reply,
    Request,
    answer_to,
    decode_answer,
    decode_bundle,
    decode_reply,
    decode_request,
    decode_statement,
    encode_answer,
    encode_bundle,
    encode_refusal,
    encode_reply,
    encode_request,
    encode_statement,
)
from cohortium.ledger.receipt import Receipt, sign_receipt
from cohortium.system.keys import public_text

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "wire.json").read_text(encoding="utf-8"))
WIDTH = 6  # of the bad vectors' replies
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))  # of the vectors' receipts


def named(vectors: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("vector", vectors, ids=[v["name"] for v in vectors])


def fields(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "type"}


def as_request(document: dict[str, Any], payload: bytes) -> Request:
    receipts, board = tuple(Receipt(**r) for r in document["receipts"]), document["board"]
    parts = {"receipts": receipts, "board": payload[:board], "state": payload[board:]}
    return Request(**{**fields(document), **parts})


def as_reply(document: dict[str, Any], values: list[int]) -> Reply:
    header = {k: v for k, v in fields(document).items() if k != "numbers"}
    return Reply(**header, values=np.array(values, document["numbers"]))


def same_reply(one: Reply, other: Reply) -> bool:
    nothing = np.zeros(0, np.int64)
    alike = replace(one, values=nothing).__dict__.items() <= replace(other, values=nothing).__dict__.items()
    return alike and np.array_equal(one.values, other.values)


def sealed(reply: Reply, head: str = "1e" * 32) -> bytes:
    """The reply as it travels."""
    data = encode_reply(reply)
    return encode_answer(
        data, sign_receipt(KEY, reply.institution, hashlib.sha256(data).hexdigest(), head, answer_to(reply))
    )


@named(VECTORS["good"])
def test_good_vectors(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["message"])
    if "request" in vector:
        request = as_request(vector["request"], bytes.fromhex(vector["payload"]))
        assert encode_request(request) == data
        assert decode_request(data) == request
    elif "reply" in vector:
        reply = as_reply(vector["reply"], vector["values"])
        assert sealed(reply) == data
        read = decode_answer(data, len(vector["values"]), reply.values.dtype)
        assert isinstance(read, Answer)
        assert same_reply(read.reply, reply)
        assert read.receipt.is_of(public_text(KEY))
    elif "said" in vector:
        assert encode_statement(vector["said"]) == data
        assert decode_statement(data) == vector["said"]
    elif "bundle" in vector:
        parts = [bytes.fromhex(p) for p in vector["bundle"]]
        assert encode_bundle(parts) == data
        assert decode_bundle(data) == parts
    else:
        refusal = Refusal(**fields(vector["refusal"]))
        assert encode_refusal(refusal) == data
        assert decode_answer(data, WIDTH) == decode_statement(data) == refusal


@named(VECTORS["bad"])
def test_bad_vectors_are_refused_by_what_is_wrong_with_them(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["message"])
    with pytest.raises(WireError, match=vector["code"]):
        READERS[vector["of"]](data)


READERS: dict[str, Callable[[bytes], object]] = {
    "request": decode_request,
    "answer": lambda data: decode_answer(data, WIDTH),
    "said": decode_statement,
    "bundle": decode_bundle,
}


def test_there_are_more_bad_vectors_than_good_ones() -> None:
    assert len(VECTORS["bad"]) >= 290
    assert {v["of"] for v in VECTORS["bad"]} == set(READERS)
    assert VECTORS["format"] == MAGIC.decode() == "COH2"


HEX = st.text("0123456789abcdef", min_size=1, max_size=64)
DIGEST = st.binary(min_size=32, max_size=32).map(bytes.hex)
NUMBER = st.integers(0, 2**31 - 1)
NAME = st.text(st.characters(codec="utf-8"), max_size=80)
RECEIPTS = st.builds(Receipt, NAME, DIGEST, DIGEST, NAME)
REQUESTS = st.builds(
    Request,
    HEX,
    HEX,
    NUMBER,
    NUMBER,
    st.binary(max_size=200),
    st.dictionaries(NAME, NAME, max_size=4),
    st.lists(RECEIPTS, max_size=3).map(tuple),
    st.sampled_from(LEGS),
    st.binary(max_size=50),
)
VALUES = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20).map(lambda v: np.array(v, np.int64))
DOCUMENTS = st.dictionaries(NAME, st.recursive(st.none() | st.integers() | NAME, st.lists, max_leaves=5), max_size=3)
REPLIES = st.builds(Reply, HEX, HEX, NUMBER, NUMBER, NAME, DIGEST, VALUES, DOCUMENTS)
MASKED = st.builds(
    lambda reply, name: replace(reply, values=reply.values.view(np.uint64).astype(name)),
    REPLIES,
    st.sampled_from(["uint32", "uint64"]),
)
REFUSALS = st.builds(Refusal, NAME, st.sampled_from(sorted(CODES)))


@given(REQUESTS)
def test_a_request_is_read_as_it_was_written(request: Request) -> None:
    assert decode_request(encode_request(request)) == request


@given(REPLIES, DIGEST)
def test_an_answer_is_read_as_it_was_written(reply: Reply, head: str) -> None:
    message = sealed(reply, head)
    read = decode_answer(message, len(reply.values))
    assert isinstance(read, Answer)
    assert read.reply.values.dtype == np.int64
    assert same_reply(read.reply, reply)
    assert (read.receipt.institution, read.receipt.head) == (reply.institution, head)
    assert same_reply(decode_reply(encode_reply(reply), len(reply.values)), reply)
    for width in (len(reply.values) + 1, len(reply.values) - 1):
        with pytest.raises(WireError, match="E_WIRE"):
            decode_answer(message, width)


@given(MASKED)
def test_masked_numbers_are_read_as_what_they_are_and_nothing_else(reply: Reply) -> None:
    """A ring's numbers are never taken for counts, nor one ring's for another's."""
    message, width = sealed(reply), len(reply.values)
    read = decode_answer(message, width, reply.values.dtype)
    assert isinstance(read, Answer)
    assert read.reply.values.dtype == reply.values.dtype
    assert same_reply(read.reply, reply)
    for other in {np.dtype(t) for t in ("int64", "uint32", "uint64")} - {reply.values.dtype}:
        for many in (width, 2 * width, width // 2):
            with pytest.raises(WireError, match="E_WIRE"):
                decode_answer(message, many, other)


@given(DOCUMENTS)
def test_a_statement_is_read_as_it_was_written(document: dict[str, Any]) -> None:
    assert decode_statement(encode_statement(document)) == document
    with pytest.raises(WireError, match="E_WIRE"):
        decode_statement(encode_statement(document) + b"\0")


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=MAX_BUNDLE))
def test_a_bundle_is_read_as_it_was_written(parts: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(parts)) == parts
    assert decode_bundle(encode_bundle([encode_bundle(parts)])) == [encode_bundle(parts)]  # one layer at a time


@given(st.one_of(REQUESTS.map(encode_request), REFUSALS.map(encode_refusal), REPLIES.map(encode_reply)))
def test_a_message_that_is_no_bundle_is_the_only_one_of_its_own(message: bytes) -> None:
    assert decode_bundle(message) == [message]


@given(REFUSALS)
def test_a_refusal_is_read_as_it_was_written(refusal: Refusal) -> None:
    assert decode_answer(encode_refusal(refusal), 3) == refusal


@given(REPLIES, REPLIES)
def test_the_length_of_an_answer_reveals_nothing_of_its_values(one: Reply, other: Reply) -> None:
    shorter = min(len(one.values), len(other.values))
    messages = [sealed(replace(one, values=r.values[:shorter], salt=r.salt), r.salt) for r in (one, other)]
    assert len(messages[0]) == len(messages[1])


@given(REPLIES, REPLIES)
def test_a_receipt_is_of_one_message_only(one: Reply, other: Reply) -> None:
    """No institution's receipt can be put on another message, not even on one that it sent itself."""
    assume(not same_reply(one, other))
    message, receipt = encode_reply(one), decode_answer(sealed(other), len(other.values)).receipt  # type: ignore[union-attr]
    with pytest.raises(WireError, match="receipt"):
        decode_answer(encode_answer(message, receipt), len(one.values))


@given(REQUESTS, st.sampled_from(["study", "run", "round", "attempt", "state"]))
def test_the_question_is_what_is_asked_and_nothing_else(request: Request, name: str) -> None:
    """Consents and receipts may have changed when a lost answer is asked for again; the question may not."""
    again = replace(request, consents={"somebody": "else"}, receipts=())
    assert (again.question, again.identity) == (request.question, request.identity)
    other_board = replace(request, board=request.board + b"x")
    assert other_board.question == request.question  # of all institutions alike
    assert other_board.identity != request.identity  # but an attempt is answered under one board only
    value = getattr(request, name)
    other = value + b"x" if name == "state" else value + 1 if isinstance(value, int) else value + "0"
    assert replace(request, **{name: other}).question != request.question
    assert replace(request, **{name: other}).identity != request.identity


@settings(max_examples=examples(300))
@given(st.one_of(st.binary(max_size=400), st.binary(max_size=400).map(lambda b: MAGIC + b)))
def test_garbage_is_malformed_and_nothing_else(data: bytes) -> None:
    for decode in (*READERS.values(), lambda d: decode_reply(d, WIDTH)):
        with pytest.raises(WireError, match="E_WIRE"):
            decode(data)


@settings(max_examples=examples(300))
@given(REPLIES, st.data())
def test_a_message_is_read_in_one_spelling_only(reply: Reply, data: st.DataObject) -> None:
    """A changed byte is malformed, or only in the receipt's head or signature, which its reader checks."""
    message = sealed(reply)
    place = data.draw(st.integers(0, len(message) - 1))
    touched = message[:place] + bytes([message[place] ^ data.draw(st.integers(1, 255))]) + message[place + 1 :]
    try:
        read = decode_answer(touched, len(reply.values))
    except WireError:
        return
    assert isinstance(read, Answer)
    assert same_reply(read.reply, reply)
    assert not read.receipt.is_of(public_text(KEY))
    assert encode_answer(encode_reply(read.reply), read.receipt) == touched


@settings(max_examples=examples(300))
@given(REQUESTS, st.data())
def test_a_request_is_read_in_one_spelling_only(request: Request, data: st.DataObject) -> None:
    message = encode_request(request)
    place = data.draw(st.integers(0, len(message) - 1))
    touched = message[:place] + bytes([message[place] ^ data.draw(st.integers(1, 255))]) + message[place + 1 :]
    try:
        read = decode_request(touched)
    except WireError:
        return
    assert read != request
    assert encode_request(read) == touched


@given(REQUESTS, st.integers(1, 500))
def test_a_request_cut_in_its_header_is_malformed(request: Request, cut: int) -> None:
    message = encode_request(replace(request, state=b"", board=b""))
    with pytest.raises(WireError, match="E_WIRE"):
        decode_request(message[: -min(cut, len(message))])


def test_a_header_has_a_limit() -> None:
    with pytest.raises(WireError, match="E_WIRE"):
        decode_answer(encode_refusal(Refusal("x" * MAX_HEADER, "E_BUDGET")), WIDTH)
    with pytest.raises(WireError, match="E_WIRE"):
        decode_answer(sealed(Reply("aa", "bb", 0, 0, "x" * MAX_HEADER, "5a" * 32, np.zeros(6, np.int64))), WIDTH)
    with pytest.raises(WireError, match="E_WIRE"):
        decode_request(encode_request(Request("aa", "bb", 0, 0, consents={"x": "0" * MAX_REQUEST_HEADER})))


def test_a_request_of_a_thousand_institutions_is_within_the_limit() -> None:
    """As many as a study may have, with the longest names."""
    names = [f"{k:04}" + "n" * 76 for k in range(1000)]
    receipts = tuple(Receipt(n, "0" * 64, "0" * 64, "0" * 128) for n in names)
    request = Request("a" * 64, "b" * 64, 0, 0, b"", dict.fromkeys(names, "0" * 128), receipts)
    assert decode_request(encode_request(request)) == request


def test_values_are_little_endian_wherever_they_come_from() -> None:
    values = np.array([1, -2], np.int64)
    one, other = (encode_reply(Reply("aa", "bb", 0, 0, "n", "5a" * 32, v)) for v in (values, values.astype(">i8")))
    assert one == other
    assert one.endswith(b"\x01" + bytes(7) + b"\xfe" + b"\xff" * 7)
