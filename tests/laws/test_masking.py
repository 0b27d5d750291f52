"""Masked sums are the plain sums, bit for bit; shares give secrets back and t - 1 tell nothing; committed vectors."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from masked import ATTEMPT, QUESTION, RUN, Attempt, bytes_of, cohort_of, double_sum, seats_of, whole_sum

from cohortium.errors import CohortiumError, MaskingError, SecretError, StudyError, WireError
from cohortium.masking import (
    Cohort,
    Context,
    MaskedSum,
    Ring,
    Seat,
    Secrets,
    Statement,
    advertise,
    all_or_nothing,
    decode_board,
    dropout_tolerant,
    encode_board,
    read_adverts,
    require_same_statement,
    ring_for,
)
from cohortium.masking.derivation import exchange, pair_masks, public_key, self_mask, sign
from cohortium.masking.ring import add_masks, key_stream
from cohortium.masking.shamir import PRIME, combine, split
from cohortium.masking.total import Masked, masked
from cohortium.privacy.discrete_gaussian import Noised
from cohortium.system.keys import public_text

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "masking.json").read_text(encoding="utf-8"))
RINGS = (Ring(32), Ring(64))
RAND = st.integers(0, 2**32 - 1)


# Exactness ------------------------------------------------------------------------------------------------------------


def values_for(names: Iterable[str], width: int, ring: Ring, rng: np.random.Generator) -> dict[str, Any]:
    """Such that the sum of all fits into the ring, up to its very edges."""
    names = list(names)
    most = 2 ** (ring.bits - 1) // len(names) - 1
    return {n: rng.integers(-most, most, width, endpoint=True) for n in names}


def plain_sum(values: dict[str, Any], survivors: Iterable[str]) -> list[int]:
    """In Python's integers, which do not wrap."""
    rows = [values[n].tolist() for n in survivors]
    return [sum(column) for column in zip(*rows, strict=True)]


def largest_dropouts(size: int) -> int:
    return max(d for d in range(size) if d == 0 or cohort_of(size).threshold <= size - d)


def test_ten_thousand_masked_sums_are_the_plain_sums_bit_for_bit() -> None:
    """Keys of 100 sessions, K from 3 to 12, D and who drops out at random; in each 100 vectors, widths 0 to 50, both rings."""
    rng, exact = np.random.default_rng(4), 0
    for session in range(100):
        size = int(rng.choice([3, 4, 5, 6, 7, 8, 10, 12], p=[0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05]))
        D = int(rng.integers(0, largest_dropouts(size) + 1))
        names = list(cohort_of(size).names)
        survivors = sorted(rng.choice(names, size - int(rng.integers(0, D + 1)), replace=False).tolist())
        masks, left = session_masks(names, survivors, D, session)
        for _ in range(100):
            ring = RINGS[rng.integers(2)]
            values = values_for(names, int(rng.integers(0, 51)), ring, rng)
            total = MaskedSum(ring, len(values[names[0]]))
            for name in survivors:
                total.add(name, masked(Noised(values[name]), ring, masks[name]))
            found = total.opened(left).tolist()
            assert found == plain_sum(values, survivors)
            exact += 1
    assert exact == 10_000


def session_masks(
    names: list[str], survivors: list[str], D: int, session: int
) -> tuple[dict[str, list[tuple[bytes, int]]], list[tuple[bytes, int]]]:
    """Everybody's masks from everybody's keys, and what a coordinator with all secrets of it takes away."""
    private = {n: bytes_of(n, session) for n in names}
    public = {n: public_key(k) for n, k in private.items()}
    salt, bound = bytes_of("view", session), (session, QUESTION)

    def pairs(name: str, among: Iterable[str]) -> list[tuple[bytes, int]]:
        return pair_masks(private[name], name, {n: public[n] for n in among if n != name}, salt, *bound)

    masks = {n: pairs(n, names) for n in survivors}
    if D == 0:
        return masks, []
    own = {n: self_mask(bytes_of("b", n, session), n, salt, *bound) for n in survivors}
    dropped = [n for n in names if n not in survivors]
    left = [*own.values(), *((key, -s) for n in dropped for key, s in pairs(n, survivors))]
    return {n: [own[n], *masks[n]] for n in survivors}, left


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(3, 9), st.data(), st.sampled_from(RINGS), st.integers(0, 50), RAND)
def test_whole_protocols_give_the_plain_sum(size: int, data: st.DataObject, ring: Ring, width: int, rand: int) -> None:
    """Every leg, with institutions missing in any of them, at most D in all."""
    D = data.draw(st.integers(0, largest_dropouts(size)))
    cohort = cohort_of(size, D)
    cohort.check()
    seats = seats_of(cohort, salt=rand)
    values = values_for(cohort.names, width, ring, np.random.default_rng(rand))
    if D == 0:
        assert whole_sum(seats, values, ring).values.tolist() == plain_sum(values, cohort.names)
        return
    gone = data.draw(
        st.lists(st.tuples(st.sampled_from(cohort.names), st.integers(0, 4)), max_size=D, unique_by=lambda g: g[0])
    )
    missing = tuple({n for n, last in gone if last <= leg} for leg in range(5))
    survivors = [n for n in cohort.names if n not in missing[2]]
    opened = double_sum(Attempt(seats, ring), values, missing)
    assert opened.values.tolist() == plain_sum(values, survivors)
    assert opened.values.dtype == np.int64
    assert opened.suspects == ()


@pytest.mark.parametrize("dropouts", [0, 16])
def test_fifty_institutions(dropouts: int) -> None:
    cohort = cohort_of(50, dropouts)
    cohort.check()
    seats, ring = seats_of(cohort), Ring(32)
    values = values_for(cohort.names, 11, ring, np.random.default_rng(50))
    gone = cohort.names[3 : 3 + dropouts]
    found = (
        double_sum(Attempt(seats, ring), values, ((), (), gone, (), ())) if dropouts else whole_sum(seats, values, ring)
    )
    assert found.values.tolist() == plain_sum(values, [n for n in cohort.names if n not in gone])


def test_two_of_ten_may_drop_out_and_a_third_voids_the_round() -> None:
    seats = seats_of(cohort_of(10, 2))
    attempt, values = Attempt(seats), {n: np.arange(5) for n in seats}
    names = tuple(seats)
    assert double_sum(attempt, values, ((), (), names[:2], (), ())).values.tolist() == [0, 8, 16, 24, 32]
    with pytest.raises(MaskingError, match="E_COHORT"):
        double_sum(attempt, values, ((), (), names[:3], (), ()))


def test_a_masked_answer_is_not_the_answer() -> None:
    """What a single institution sends has nothing of the answer in it, and nothing of another round's."""
    seats = seats_of(cohort_of(3))
    adverts = read_adverts(seats[next(iter(seats))].cohort, RUN, [advertise(s) for s in seats.values()])
    seat, zeros = next(iter(seats.values())), Noised(np.zeros(1000, np.int64))
    seen = [
        all_or_nothing.mask(seat, adverts, replace(ATTEMPT, round=r, attempt=a), q, zeros, Ring(64)).values
        for r, a, q in itertools.product((0, 1), (0, 1), (QUESTION, "77" * 32))
    ]
    assert len({v.tobytes() for v in seen}) == 8
    for one, other in itertools.combinations([np.zeros(1000, np.uint64), *seen], 2):
        assert not (one == other).any()  # 64 bits: a false alarm is 4e-15 away


# Rings and masks ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_a_ring_gives_back_what_it_was_given(narrow: list[int], wide: list[int]) -> None:
    for ring, values in ((Ring(32), narrow), (Ring(64), wide), (Ring(64), narrow)):
        array = np.array(values, np.int64)
        inside = ring.to_ring(array)
        assert inside.dtype == ring.dtype
        assert inside.base is None or not np.shares_memory(inside, array)
        back = ring.from_ring(inside)
        assert back.dtype == np.int64
        assert back.tolist() == values


@given(st.integers(0, 2**31), st.floats(0, 1e5))
def test_the_ring_is_the_smallest_that_a_sum_cannot_wrap_in(largest: int, sigma: float) -> None:
    ring = ring_for(largest, sigma)
    assert largest + 40 * sigma < 2 ** (ring.bits - 1)
    assert ring.bits == 32 or largest + math.ceil(40 * sigma) >= 2**31


def test_the_edges_of_the_rings() -> None:
    assert ring_for(2**31 - 1, 0).bits == 32
    assert ring_for(2**31, 0).bits == 64
    assert ring_for(2**31 - 41, 1).bits == 32
    assert ring_for(2**31 - 40, 1).bits == 64
    assert ring_for(2**63 - 1, 0).bits == 64
    for largest, sigma in ((2**63, 0), (2**63 - 40, 1), (0, 1e18)):
        with pytest.raises(StudyError, match="E_PLAN_LIMIT"):
            ring_for(largest, sigma)


@pytest.mark.parametrize("ring", RINGS)
@pytest.mark.parametrize("width", [0, 1, 16384, 16385, 40_000])
def test_masks_are_the_key_stream_whatever_the_blocks(ring: Ring, width: int) -> None:
    keys = [bytes([k]) * 32 for k in range(3)]
    values = np.zeros(width, ring.dtype)
    add_masks(values, [(keys[0], 1), (keys[1], -1), (keys[2], 1)])
    streams = [np.frombuffer(key_stream(k, ring.bits // 8 * width), ring.dtype.newbyteorder("<")) for k in keys]
    assert np.array_equal(values, streams[0] - streams[1] + streams[2])


def test_the_mask_of_a_key_is_its_known_stream() -> None:
    reported = VECTORS["stream"]
    for ring in RINGS:
        values = np.zeros(9, ring.dtype)
        add_masks(values, [(bytes.fromhex(reported["key"]), 1)])
        assert values.tolist() == reported[str(ring.bits)]


# Secret sharing -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.data())
def test_any_t_shares_give_the_secret_back(t: int, data: st.DataObject) -> None:
    secret = data.draw(st.integers(0, 2**256 - 1))
    coefficients = data.draw(st.lists(st.integers(0, PRIME - 1), min_size=t - 1, max_size=t - 1))
    xs = data.draw(st.lists(st.integers(1, 1000), min_size=t, max_size=20, unique=True))
    shares = split(secret, coefficients, xs)
    chosen = data.draw(st.permutations(xs))[:t]
    assert combine({x: shares[x] for x in chosen}) == secret
    assert all(combine({x: shares[x] for x in chosen}, at=x) == shares[x] for x in xs)


def test_fewer_than_t_shares_are_consistent_with_every_secret_equally_often() -> None:
    """All of a field of 7 elements, t = 3: whatever two shares say, each secret has exactly one polynomial."""
    for xs in itertools.permutations(range(1, 7), 2):
        seen = Counter(
            (tuple(split(secret, c, (*xs, *others), prime=7)[x] for x in xs), secret)
            for others in [[x for x in range(1, 7) if x not in xs][:1]]
            for secret in range(7)
            for c in itertools.product(range(7), repeat=2)
        )
        assert len(seen) == 7**3
        assert set(seen.values()) == {1}


def test_any_three_of_a_small_field_give_the_secret_back() -> None:
    for secret, *coefficients in itertools.product(range(7), repeat=3):
        shares = split(secret, coefficients, range(1, 7), prime=7)
        assert all(combine({x: shares[x] for x in xs}, prime=7) == secret for xs in itertools.combinations(shares, 3))


@pytest.mark.parametrize("xs", [[0, 1, 2], [1, 1, 2], [PRIME, 1, 2], [-1, 1, 2], [1, 2]])
def test_shares_stand_at_distinct_places_other_than_zero(xs: list[int]) -> None:
    with pytest.raises(ValueError, match="shares"):
        split(47, [1, 2], xs)


def test_only_elements_are_shared_and_combined() -> None:
    for secret, coefficients in ((-1, [1]), (PRIME, [1]), (1, [-1]), (1, [PRIME])):
        with pytest.raises(ValueError, match="element"):
            split(secret, coefficients, [1, 2])
    for shares in ({}, {1: PRIME}, {1: -1}, {0: 1}):
        with pytest.raises(ValueError, match="share"):
            combine(shares)


def test_shares_are_the_known_ones() -> None:
    for vector in VECTORS["shamir"]:
        shares = split(vector["secret"], vector["coefficients"], [1, 2, 5, 50])
        assert shares == {int(x): y for x, y in vector["shares"].items()}


@given(st.binary(min_size=32, max_size=32), st.integers(0, 40))
def test_coefficients_are_elements_and_others_for_another_secret_or_context(seed: bytes, count: int) -> None:
    found = [Secrets(seed).coefficients(context, what, count) for context in (RUN, ATTEMPT) for what in ("seed", "key")]
    assert all(len(c) == count and all(0 <= k < PRIME for k in c) for c in found)
    flat = [k for c in found for k in c]
    assert len(set(flat)) == len(flat)


# Cohorts, secrets, statements -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, 31))
def test_exactly_the_safe_cohorts_are_accepted(size: int) -> None:
    """By the set-theoretic definitions, not by the formulas: what t confirmations can and cannot be forged into."""
    for D, T in itertools.product(range(size + 2), repeat=2):
        cohort = cohort_of(size, D, T)
        t = cohort.threshold
        # Two sets of t out of K share at least 2t - K; one of those must be honest. D may be gone, and t still there.
        never_two_sets = D == 0 or (2 * t - size > T and size > 3 * T)
        safe = size >= 3 and size - D - T >= 1 and never_two_sets and (D == 0 or size - D >= t)
        assert (problem_of(cohort) is None) == safe
        if safe and D:
            assert 2 * t - size > T  # follows from 3T < K
            assert t > T
            assert cohort.least == max(t, size - D, 3)
            assert cohort.least - T >= cohort.honest
        if safe and not D:
            assert cohort.least == size


def problem_of(cohort: Cohort) -> str | None:
    try:
        cohort.check()
    except StudyError as error:
        return error.code
    return None


def test_a_cohort_needs_keys_and_a_measure() -> None:
    keys = cohort_of(4).keys
    assert problem_of(Cohort({**keys, "another": ""})) == "E_PLAN_INVALID"
    assert problem_of(Cohort({**keys, "another": next(iter(keys.values()))})) == "E_PLAN_INVALID"
    assert problem_of(cohort_of(4, -1, 0)) == problem_of(cohort_of(4, 0, -1)) == "E_PLAN_PRIVACY"
    assert problem_of(cohort_of(200, 1)) is None
    assert problem_of(cohort_of(201, 1)) == "E_PLAN_LIMIT"
    assert problem_of(cohort_of(201)) is None


def test_thresholds_of_the_paper() -> None:
    """Floor(2K/3) + 1, for the sizes that the docs name."""
    assert [cohort_of(k, 1).threshold for k in (4, 5, 6, 10, 50, 100)] == [3, 4, 5, 7, 34, 67]
    assert [cohort_of(10, d, t).honest for d, t in ((0, 0), (2, 3), (0, 9))] == [10, 5, 1]


@given(st.binary(min_size=32, max_size=32))
def test_secrets_are_read_as_they_were_written(seed: bytes) -> None:
    secrets = Secrets.draw(seed)
    assert Secrets.from_bytes(secrets.to_bytes()) == secrets
    assert seed.hex() not in repr(secrets)
    keys = [f(c) for c in (RUN, ATTEMPT) for f in (secrets.mask_key, secrets.encryption_key, secrets.self_seed)]
    assert len({seed, *keys}) == 7


@pytest.mark.parametrize(
    "data", [b"", b"COHM1\n", b"COHM1\n" + bytes(31), b"COHM1\n" + bytes(33), b"COHM2\n" + bytes(32)]
)
def test_secrets_are_read_in_one_spelling_only(data: bytes) -> None:
    with pytest.raises(SecretError, match="E_SECRET"):
        Secrets.from_bytes(data)


def test_a_seed_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32"):
        Secrets.draw(bytes(31))


def test_nothing_secret_is_shown_by_a_seat() -> None:
    seat = next(iter(seats_of(cohort_of(3)).values()))
    assert seat.secrets.seed.hex() not in repr(seat)
    assert repr(seat.secrets.seed) not in repr(seat)


@given(st.permutations(range(4)))
def test_the_order_of_a_board_does_not_matter(order: list[int]) -> None:
    seats = list(seats_of(cohort_of(4, 1)).values())
    said = [advertise(s) for s in seats]
    shuffled = [said[k] for k in order]
    cohort = seats[0].cohort
    assert read_adverts(cohort, ATTEMPT, shuffled) == read_adverts(cohort, ATTEMPT, said)
    assert encode_board(shuffled) == encode_board(said)
    assert decode_board(encode_board(shuffled)) == said


def test_saying_it_again_is_saying_the_same() -> None:
    """No leg draws anything: a lost reply can be made again from the secrets, bit for bit."""
    for _ in range(2):
        first, second = (played(Attempt(seats_of(cohort_of(4, 1)))) for _ in range(2))
        assert first == second


def played(attempt: Attempt) -> list[bytes]:
    adverts = attempt.adverts()
    shares = attempt.shares(adverts)
    _, answers, vectors = attempt.answers(shares, {n: np.arange(3) for n in attempt.seats}, attempt.cohort.names[:1])
    confirmed = attempt.confirmed(answers)
    boards = [
        encode_board(attempt.reveals(confirmed)),
        answers.board.encode(),
        shares.board.encode(),
        adverts.view.encode(),
    ]
    return [*boards, *(v.values.tobytes() for v in vectors.values())]


def test_a_statement_is_made_once() -> None:
    seat = next(iter(seats_of(cohort_of(3)).values()))
    said = advertise(seat)
    other = replace(seat, secrets=Secrets(bytes_of("others")))
    assert require_same_statement(None, said) == require_same_statement(advertise(seat), said) == said
    with pytest.raises(MaskingError, match="E_VIEW"):
        require_same_statement(said, advertise(other))


@given(st.binary(max_size=300))
def test_garbage_is_no_board(data: bytes) -> None:
    if data == b"[]":
        return
    with pytest.raises(WireError, match="E_WIRE"):
        decode_board(data)


def test_a_board_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WireError, match="E_WIRE"):
        decode_board(b"[" * 1_000_000)
    said = encode_board([advertise(s) for s in seats_of(cohort_of(3)).values()])
    monkeypatch.setattr("cohortium.masking.statements.MAX_BOARD", len(said) - 1)
    with pytest.raises(WireError, match="too long"):
        decode_board(said)


def test_the_largest_board_of_shares_is_within_the_limit() -> None:
    """200 institutions with the longest names; one statement stands for all, which are as long."""
    names = [f"{k:04}" + "n" * 76 for k in range(200)]
    body = {"view": "0" * 64, "commitment": "0" * 64, "shares": dict.fromkeys(names[1:], "0" * 296)}
    one = Statement(names[0], "share", replace(ATTEMPT, round=2**31 - 1), body, "0" * 128)
    assert 200 * len(encode_board([one])) < 64 << 20


# Vectors --------------------------------------------------------------------------------------------------------------


WHOLE_AT = Context("5d" * 32, "ab" * 16)
DOUBLE_AT = replace(WHOLE_AT, round=2, attempt=0)


def vector_seats(size: int, dropouts: int) -> dict[str, Seat]:
    identities = {n: Ed25519PrivateKey.from_private_bytes(bytes.fromhex(h)) for n, h in VECTORS["identities"].items()}
    chosen = sorted(identities)[:size]
    cohort = Cohort({n: public_text(identities[n]) for n in chosen}, dropouts)
    at = DOUBLE_AT if dropouts else WHOLE_AT
    return {n: Seat(cohort, n, identities[n], at, Secrets(bytes.fromhex(VECTORS["seeds"][n]))) for n in chosen}


def statements(documents: list[dict[str, Any]]) -> list[Statement]:
    return [Statement.from_document(d) for d in documents]


def noised(name: str) -> Noised:
    return Noised(np.array(VECTORS["values"][name], np.int64))


def test_whole_sums_are_the_known_ones() -> None:
    reported, seats = VECTORS["whole"], vector_seats(3, 0)
    said = [advertise(s) for s in seats.values()]
    assert said == statements(reported["adverts"])
    adverts = read_adverts(seats["east"].cohort, WHOLE_AT, said)
    assert adverts.view == reported["view"]
    for ring in RINGS:
        total = MaskedSum(ring, 4)
        for name, seat in seats.items():
            answer = all_or_nothing.mask(seat, adverts, DOUBLE_AT, VECTORS["question"], noised(name), ring)
            assert answer.values.tolist() == reported["masked"][str(ring.bits)][name]
            total.add(name, answer)
        opened = all_or_nothing.unmask(total, seats["east"].cohort)
        assert opened.values.tolist() == [sum(VECTORS["values"][n][k] for n in seats) for k in range(4)]


def test_double_masked_sums_are_the_known_ones() -> None:
    reported, seats, question = VECTORS["double"], vector_seats(4, 1), VECTORS["question"]
    cohort, survivors = seats["east"].cohort, ["east", "north", "south"]
    said = [advertise(s) for s in seats.values()]
    assert said == statements(reported["adverts"])
    adverts = read_adverts(cohort, DOUBLE_AT, said)
    shared = [dropout_tolerant.share(s, adverts) for s in seats.values()]
    assert shared == statements(reported["shares"])
    shares = dropout_tolerant.read_shares(adverts, shared)
    assert (adverts.view, shares.board) == (reported["view"], reported["board"])
    for ring in RINGS:
        answers = {n: dropout_tolerant.mask(seats[n], shares, question, noised(n), ring) for n in survivors}
        assert {n: a.values.tolist() for n, (a, _) in answers.items()} == reported["masked"][str(ring.bits)]
        assert [s for _, s in answers.values()] == statements(reported["answers"])
        read = dropout_tolerant.read_answers(shares, question, [s for _, s in answers.values()])
        assert read.board == reported["about"]
        confirmations = [dropout_tolerant.confirm(seats[n], read) for n in survivors]
        assert confirmations == statements(reported["confirmations"])
        confirmed = dropout_tolerant.read_confirmations(read, confirmations)
        reveals = [dropout_tolerant.reveal(seats[n], confirmed) for n in survivors]
        assert reveals == statements(reported["reveals"])
        total = MaskedSum(ring, 4)
        for name, (answer, _) in answers.items():
            total.add(name, answer)
        assert dropout_tolerant.unmask(total, confirmed, reveals).values.tolist() == reported["sum"]


def as_the_first_institution(leg: str, board: list[Statement]) -> None:
    """What ``east`` (in leg reveal: the coordinator) does with a board."""
    if leg == "whole advertise":
        seat = vector_seats(3, 0)["east"]
        adverts = read_adverts(seat.cohort, WHOLE_AT, board)
        all_or_nothing.mask(seat, adverts, DOUBLE_AT, VECTORS["question"], noised("east"), Ring(64))
        return
    reported, seat, question = VECTORS["double"], vector_seats(4, 1)["east"], VECTORS["question"]
    if leg == "advertise":
        dropout_tolerant.share(seat, read_adverts(seat.cohort, DOUBLE_AT, board))
        return
    adverts = read_adverts(seat.cohort, DOUBLE_AT, statements(reported["adverts"]))
    if leg == "share":
        dropout_tolerant.mask(seat, dropout_tolerant.read_shares(adverts, board), question, noised("east"), Ring(64))
        return
    shares = dropout_tolerant.read_shares(adverts, statements(reported["shares"]))
    if leg == "mask":
        dropout_tolerant.confirm(seat, dropout_tolerant.read_answers(shares, question, board))
        return
    answers = dropout_tolerant.read_answers(shares, question, statements(reported["answers"]))
    if leg == "confirm":
        dropout_tolerant.reveal(seat, dropout_tolerant.read_confirmations(answers, board))
        return
    confirmed = dropout_tolerant.read_confirmations(answers, statements(reported["confirmations"]))
    total = MaskedSum(Ring(64), 4)
    for name, values in reported["masked"]["64"].items():
        total.add(name, Masked(np.array(values, np.uint64)))
    before = total.values.copy()
    try:
        dropout_tolerant.unmask(total, confirmed, board)
    finally:
        if board != statements(reported["reveals"]):
            assert np.array_equal(total.values, before)  # a void round leaves the sum masked


@pytest.mark.parametrize("leg", ["whole advertise", "advertise", "share", "mask", "confirm", "reveal"])
def test_the_good_boards_of_the_bad_vectors_are_accepted(leg: str) -> None:
    boards = {"whole advertise": VECTORS["whole"]["adverts"]} | {
        leg: VECTORS["double"][name]
        for leg, name in zip(
            ("advertise", "share", "mask", "confirm", "reveal"),
            ("adverts", "shares", "answers", "confirmations", "reveals"),
            strict=True,
        )
    }
    as_the_first_institution(leg, statements(boards[leg]))


@pytest.mark.parametrize("vector", VECTORS["bad"], ids=[f"{v['leg']}: {v['name']}" for v in VECTORS["bad"]])
def test_bad_boards_are_refused_with_their_code(vector: dict[str, Any]) -> None:
    with pytest.raises(CohortiumError) as error:
        as_the_first_institution(vector["leg"], statements(vector["board"]))
    assert error.value.code in vector["code"].split("|")
    assert isinstance(error.value, MaskingError)


@pytest.mark.parametrize("name", sorted(VECTORS["malformed"]))
def test_malformed_boards_are_refused(name: str) -> None:
    with pytest.raises(WireError, match="E_WIRE"):
        decode_board(bytes.fromhex(VECTORS["malformed"][name]))


def test_there_are_many_bad_vectors() -> None:
    assert VECTORS["format"] == "cohortium masking 1"
    assert len(VECTORS["bad"]) >= 150
    assert len(VECTORS["malformed"]) >= 25
    assert {c for v in VECTORS["bad"] for c in v["code"].split("|")} == {"E_KEYS", "E_COHORT", "E_VIEW"}


def test_the_first_by_name_adds_and_the_other_subtracts() -> None:
    assert (sign("a", "b"), sign("b", "a")) == (1, -1)
    one, other = (bytes_of(k) for k in ("a", "b"))
    assert exchange(one, public_key(other)) == exchange(other, public_key(one))
    (key, up), (same, down) = (
        pair_masks(private, name, {n: public_key(k)}, bytes(32), 1)[0]
        for private, name, n, k in ((one, "a", "b", other), (other, "b", "a", one))
    )
    assert key == same
    assert (up, down) == (1, -1)
