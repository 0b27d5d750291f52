"""The bytes of the messages: committed vectors, well-formed and not, and round trips."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.errors import CODES, WireError
from cohortium.wire import (
    MAX_HEADER,
    Refusal,
    Reply,
    Request,
    decode_answer,
    decode_request,
    encode_refusal,
    encode_reply,
    encode_request,
)

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "wire.json").read_text(encoding="utf-8"))
WIDTH = 6  # of the vectors' replies


def named(vectors: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("vector", vectors, ids=[v["name"] for v in vectors])


def fields(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "type"}


def same_reply(one: Reply, other: Reply) -> bool:
    nothing = np.zeros(0, np.int64)
    alike = replace(one, values=nothing).__dict__.items() <= replace(other, values=nothing).__dict__.items()
    return alike and np.array_equal(one.values, other.values)


@named(VECTORS["good"])
def test_good_vectors(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["message"])
    if "request" in vector:
        request = Request(**fields(vector["request"]), state=bytes.fromhex(vector["payload"]))
        assert encode_request(request) == data
        assert decode_request(data) == request
    elif "reply" in vector:
        reply = Reply(**fields(vector["reply"]), values=np.array(vector["values"], np.int64))
        assert encode_reply(reply) == data
        read = decode_answer(data, len(vector["values"]))
        assert isinstance(read, Reply)
        assert same_reply(read, reply)
    else:
        refusal = Refusal(**fields(vector["refusal"]))
        assert encode_refusal(refusal) == data
        assert decode_answer(data, WIDTH) == refusal


@named(VECTORS["bad"])
def test_bad_vectors_are_refused_as_malformed(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["message"])
    with pytest.raises(WireError, match="E_WIRE"):
        decode_request(data) if vector["of"] == "request" else decode_answer(data, WIDTH)


def test_there_are_more_bad_vectors_than_good_ones() -> None:
    assert len(VECTORS["bad"]) >= 90
    assert {v["of"] for v in VECTORS["bad"]} == {"request", "answer"}


HEX = st.text("0123456789abcdef", min_size=1, max_size=64)
NUMBER = st.integers(0, 2**31 - 1)
NAME = st.text(st.characters(codec="utf-8"), max_size=80)
REQUESTS = st.builds(Request, HEX, HEX, NUMBER, NUMBER, st.binary(max_size=200))
VALUES = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20).map(lambda v: np.array(v, np.int64))
REPLIES = st.builds(Reply, HEX, HEX, NUMBER, NUMBER, NAME, VALUES)
REFUSALS = st.builds(Refusal, NAME, st.sampled_from(sorted(CODES)))


@given(REQUESTS)
def test_a_request_is_read_as_it_was_written(request: Request) -> None:
    assert decode_request(encode_request(request)) == request


@given(REPLIES)
def test_a_reply_is_read_as_it_was_written(reply: Reply) -> None:
    read = decode_answer(encode_reply(reply), len(reply.values))
    assert isinstance(read, Reply)
    assert read.values.dtype == np.int64
    assert same_reply(read, reply)
    for width in (len(reply.values) + 1, len(reply.values) - 1):
        with pytest.raises(WireError, match="E_WIRE"):
            decode_answer(encode_reply(reply), width)


@given(REFUSALS)
def test_a_refusal_is_read_as_it_was_written(refusal: Refusal) -> None:
    assert decode_answer(encode_refusal(refusal), 3) == refusal


@given(REPLIES, REPLIES)
def test_the_length_of_a_reply_tells_nothing_of_its_values(one: Reply, other: Reply) -> None:
    shorter = min(len(one.values), len(other.values))
    messages = [encode_reply(replace(one, values=r.values[:shorter])) for r in (one, other)]
    assert len(messages[0]) == len(messages[1])


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=400), st.binary(max_size=400).map(lambda b: b"COH1" + b)))
def test_garbage_is_malformed_and_nothing_else(data: bytes) -> None:
    for decode in (decode_request, lambda d: decode_answer(d, WIDTH)):
        with pytest.raises(WireError, match="E_WIRE"):
            decode(data)


@settings(max_examples=300)
@given(REPLIES, st.data())
def test_a_message_is_read_in_one_spelling_only(reply: Reply, data: st.DataObject) -> None:
    """A changed byte is malformed, or another message that is written with just these bytes."""
    message = encode_reply(reply)
    place = data.draw(st.integers(0, len(message) - 1))
    touched = message[:place] + bytes([message[place] ^ data.draw(st.integers(1, 255))]) + message[place + 1 :]
    try:
        read = decode_answer(touched, len(reply.values))
    except WireError:
        return
    assert isinstance(read, Reply)
    assert encode_reply(read) == touched


@given(REQUESTS, st.integers(1, 500))
def test_a_request_cut_in_its_header_is_malformed(request: Request, cut: int) -> None:
    message = encode_request(replace(request, state=b""))
    with pytest.raises(WireError, match="E_WIRE"):
        decode_request(message[: -min(cut, len(message))])


def test_a_header_has_a_limit() -> None:
    with pytest.raises(WireError, match="E_WIRE"):
        decode_answer(encode_refusal(Refusal("x" * MAX_HEADER, "E_BUDGET")), WIDTH)


def test_values_are_little_endian_wherever_they_come_from() -> None:
    values = np.array([1, -2], np.int64)
    one, other = (encode_reply(Reply("aa", "bb", 0, 0, "n", v)) for v in (values, values.astype(">i8")))
    assert one == other
    assert one.endswith(b"\x01" + bytes(7) + b"\xfe" + b"\xff" * 7)
