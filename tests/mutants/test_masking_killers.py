"""What kills the mutants of the masking layer that no other test does."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from enlisted import consents, refusal
from masked import ATTEMPT, QUESTION, RUN, Attempt, again, bytes_of, cohort_of, seats_of
from masked_federation import Federation, study

from cohortium.federation import wire
from cohortium.masking import MaskedSum, Ring, advertise, all_or_nothing, dropout_tolerant, read_adverts
from cohortium.masking.derivation import pair_masks, public_key
from cohortium.masking.ring import add_masks, key_stream
from cohortium.privacy.discrete_gaussian import Noised


def test_every_bit_of_a_key_counts() -> None:
    """So that nobody can try out all masks there are."""
    key = int.from_bytes(bytes_of("key"), "big")
    streams = {key_stream((key ^ bit).to_bytes(32, "big"), 16) for bit in [0, *(1 << k for k in range(256))]}
    assert len(streams) == 257


def test_an_answer_under_masks_for_another_board_reveals_no_pair_mask() -> None:
    """Asked for two boards of shares, of which one lacks a colluder, the answers differ by more than the colluder's mask."""
    attempt = Attempt(seats_of(cohort_of(7, 2, 2)))
    first, *_, colluder = attempt.seats
    adverts, zeros = attempt.adverts(), Noised(np.zeros(20, np.int64))
    boards = attempt.shares(adverts), attempt.shares(adverts, [colluder])
    more, fewer = (dropout_tolerant.mask(attempt.seats[first], b, QUESTION, zeros, Ring(64))[0].values for b in boards)
    private = attempt.seats[colluder].secrets.mask_key(attempt.context)
    known = pair_masks(private, colluder, {first: adverts.mask_keys[first]}, adverts.salt, *boards[0].bound(QUESTION))
    left = more - fewer
    add_masks(left, known)  # the colluder's side, which cancels the other
    assert left.any()


def test_answers_under_different_views_do_not_add_up() -> None:
    """Whatever a colluder with two faces takes away of its own masks, those of the two who saw one each stay."""
    seats = list(seats_of(cohort_of(3, 0, 1)).values())
    board, second = [advertise(s) for s in seats], bytes_of("second face")
    faces = {
        seats[2].secrets.mask_key(RUN): board[2],
        second: again(seats[2], "advertise", {"mask": public_key(second)}),
    }
    total = MaskedSum(Ring(64), 20)
    for seat, (private, face) in zip(seats, faces.items(), strict=False):
        view = read_adverts(seat.cohort, RUN, [*board[:2], face])
        total.add(
            seat.name, all_or_nothing.mask(seat, view, ATTEMPT, QUESTION, Noised(np.zeros(20, np.int64)), Ring(64))
        )
        known = {seat.name: view.mask_keys[seat.name]}
        add_masks(total.values, pair_masks(private, seats[2].name, known, view.salt, ATTEMPT.document(), QUESTION))
    assert total.values.any()


def test_a_masked_study_is_answered_under_masks_or_not_at_all(tmp_path: Path) -> None:
    with ExitStack() as stack:
        federation = Federation(study(3), tmp_path, stack)
        asked = wire.Request(federation.study.digest, "ab" * 16, 0, 0, consents=consents(federation.study))
        assert federation.custodians["i00"].answer(wire.encode_request(asked)) == refusal("E_WIRE", "i00")
