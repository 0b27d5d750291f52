"""What a coordinator that lies, with institutions that help it, can try on a masked sum, and how each is refused."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from masked import ATTEMPT, QUESTION, RUN, Attempt, again, bytes_of, cohort_of, double_sum, seats_of, whole_answers
from scipy.stats import chi2

from cohortium.errors import MaskingError, StudyError
from cohortium.masking import (
    Adverts,
    Cohort,
    Context,
    Masked,
    MaskedSum,
    Ring,
    Seat,
    Secrets,
    Statement,
    advertise,
    all_or_nothing,
    dropout_tolerant,
    read_adverts,
    require_same_statement,
)
from cohortium.masking.derivation import commitment, pair_masks, public_key, self_mask, sign
from cohortium.masking.ring import RingArray, add_masks
from cohortium.masking.shamir import PRIME, SIZE, combine
from cohortium.masking.statements import Leg
from cohortium.masking.total import masked
from cohortium.privacy.discrete_gaussian import Noised

OTHER = "77" * 32


class Untouched(Noised):
    """An answer that nobody has looked at yet, or the test fails."""

    def __init__(self) -> None:
        pass

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError("the answer was touched before the board was refused")


def refused(code: str) -> Any:
    return pytest.raises(MaskingError, match=f"^{code}:")


def values_of(names: Iterable[str], width: int = 6) -> dict[str, Any]:
    return {n: np.arange(width) + 100 * k for k, n in enumerate(names)}


# The board of keys ----------------------------------------------------------------------------------------------------


def use(seat: Seat, board: list[Statement]) -> None:
    """What an institution does with a board of keys: shares its secrets, or masks its answer at once."""
    adverts = read_adverts(seat.cohort, seat.context, board)
    if seat.cohort.dropouts:
        dropout_tolerant.share(seat, adverts)
    else:
        all_or_nothing.mask(seat, adverts, ATTEMPT, QUESTION, Untouched(), Ring(64))


def keys_of_the_coordinator(statement: Statement, kind: str) -> Statement:
    return replace(statement, body={**statement.body, kind: public_key(bytes_of("in the middle"))})


@pytest.mark.parametrize("dropouts", [0, 2])
@pytest.mark.parametrize("whose", [0, 1])
def test_a_man_in_the_middle_needs_the_institutions_keys(dropouts: int, whose: int) -> None:
    seats = list(seats_of(cohort_of(10, dropouts)).values())
    board = [advertise(s) for s in seats]
    for kind in ("mask", "encryption") if dropouts else ("mask",):
        with refused("E_KEYS"):
            use(seats[0], [keys_of_the_coordinator(s, kind) if k == whose else s for k, s in enumerate(board)])


@pytest.mark.parametrize("dropouts", [0, 2])
def test_keys_signed_by_a_key_that_the_study_does_not_name_are_refused(dropouts: int) -> None:
    seats = list(seats_of(cohort_of(10, dropouts)).values())
    imposter = replace(seats[1], key=Ed25519PrivateKey.from_private_bytes(bytes_of("imposter")))
    with refused("E_KEYS"):
        use(seats[0], [advertise(s) for s in (seats[0], imposter, *seats[2:])])


@pytest.mark.parametrize("dropouts", [0, 2])
@pytest.mark.parametrize(
    "key",
    [
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ],
)
def test_keys_that_give_everybody_the_same_secret_are_refused(dropouts: int, key: str) -> None:
    """The seven points of small order, however signed."""
    seats = list(seats_of(cohort_of(10, dropouts)).values())
    board = [advertise(s) for s in seats]
    for kind in board[1].body:
        board[1] = again(seats[1], "advertise", {**board[1].body, kind: key})
        with refused("E_KEYS"):
            use(seats[0], board)


@pytest.mark.parametrize("dropouts", [0, 2])
def test_a_key_is_on_the_board_once_however_it_is_spelled(dropouts: int) -> None:
    seats = list(seats_of(cohort_of(10, dropouts)).values())
    board = [advertise(s) for s in seats]
    for key in board[2].body.values():
        respelled = bytearray.fromhex(key)
        respelled[31] |= 0x80  # X25519 ignores the top bit
        for copy in (key, bytes(respelled).hex()):
            with refused("E_KEYS"):
                use(seats[0], [board[0], again(seats[1], "advertise", {**board[1].body, "mask": copy}), *board[2:]])


def test_an_institution_that_counts_twice_is_refused() -> None:
    seats = list(seats_of(cohort_of(10, 2)).values())
    board = [advertise(s) for s in seats[:7]]
    with refused("E_KEYS"):
        use(seats[0], [*board, board[3]])
    keys = cohort_of(4).keys
    with pytest.raises(StudyError, match="E_PLAN_INVALID"):
        Cohort({**keys, "sybil": keys["institution-00"]}, 1).check()


@pytest.mark.parametrize("dropouts", [0, 2])
def test_a_cohort_below_the_minimum_is_refused(dropouts: int) -> None:
    seats = list(seats_of(cohort_of(10, dropouts)).values())
    board = [advertise(s) for s in seats]
    with refused("E_COHORT"):
        use(seats[0], board[: 9 - dropouts])
    if dropouts:
        use(seats[0], board[:8])


def test_a_board_without_the_institution_is_refused() -> None:
    seats = list(seats_of(cohort_of(10, 2)).values())
    with refused("E_VIEW"):
        use(seats[0], [advertise(s) for s in seats[1:]])


@pytest.mark.parametrize("dropouts", [0, 2])
def test_own_keys_of_another_time_are_refused(dropouts: int) -> None:
    """Rightly signed by the institution, for this session, but its secrets are others: a restored backup."""
    seats = list(seats_of(cohort_of(10, dropouts)).values())
    board = [advertise(s) for s in seats]
    restored = replace(seats[0], secrets=Secrets(bytes_of("others")))
    with refused("E_KEYS"):
        use(restored, board)


# Replays --------------------------------------------------------------------------------------------------------------


ELSEWHERE = {
    "round": replace(ATTEMPT, round=2),
    "attempt": replace(ATTEMPT, attempt=2),
    "run": replace(ATTEMPT, run="cd" * 16),
    "study": replace(ATTEMPT, study=OTHER),
    "no round": RUN,
}
LEGS: tuple[Leg, ...] = ("advertise", "share", "mask", "confirm", "reveal")


def boards_of(attempt: Attempt) -> dict[Leg, list[Statement]]:
    """Every leg's statements of an honest attempt."""
    seats, values = attempt.seats, values_of(attempt.seats)
    adverts = attempt.adverts()
    shared = [dropout_tolerant.share(s, adverts) for s in seats.values()]
    shares = dropout_tolerant.read_shares(adverts, shared)
    _, answers, _ = attempt.answers(shares, values)
    said = [dropout_tolerant.mask(s, shares, QUESTION, Noised(values[n]), Ring(64))[1] for n, s in seats.items()]
    confirmations = [dropout_tolerant.confirm(s, answers) for s in seats.values()]
    confirmed = dropout_tolerant.read_confirmations(answers, confirmations)
    boards = ([advertise(s) for s in seats.values()], shared, said, confirmations, attempt.reveals(confirmed))
    return dict(zip(LEGS, boards, strict=True))


def go_through(seat: Seat, boards: dict[Leg, list[Statement]], question: str = QUESTION) -> None:
    """The institution reads every board in turn, and does what follows; the coordinator reads the last one."""
    adverts = read_adverts(seat.cohort, seat.context, boards["advertise"])
    dropout_tolerant.share(seat, adverts)
    shares = dropout_tolerant.read_shares(adverts, boards["share"])
    answer = dropout_tolerant.mask(seat, shares, question, Noised(np.zeros(6, np.int64)), Ring(64))[0]
    answers = dropout_tolerant.read_answers(shares, question, boards["mask"])
    dropout_tolerant.confirm(seat, answers)
    confirmed = dropout_tolerant.read_confirmations(answers, boards["confirm"])
    dropout_tolerant.reveal(seat, confirmed)
    total = MaskedSum(Ring(64), 6)
    for name in answers.survivors:
        total.add(name, answer)
    dropout_tolerant.unmask(total, confirmed, boards["reveal"])


@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize("elsewhere", ELSEWHERE)
def test_statements_of_another_session_are_refused(leg: Leg, elsewhere: str) -> None:
    cohort = cohort_of(4, 1)
    here, there = seats_of(cohort), seats_of(cohort, ELSEWHERE[elsewhere])
    boards = boards_of(Attempt(here))
    go_through(here["institution-00"], boards)
    seat = there["institution-01"]
    replayed = again(seat, leg, boards[leg][1].body)  # what it rightly said there
    with refused("E_KEYS"):
        go_through(here["institution-00"], {**boards, leg: [boards[leg][0], replayed, *boards[leg][2:]]})


@pytest.mark.parametrize("leg", LEGS)
def test_a_statement_of_another_leg_is_refused(leg: Leg) -> None:
    seats = seats_of(cohort_of(4, 1))
    boards = boards_of(Attempt(seats))
    for other in LEGS:
        if other != leg:
            with refused("E_KEYS"):
                go_through(seats["institution-00"], {**boards, leg: [boards[other][0], *boards[leg][1:]]})


@pytest.mark.parametrize("leg", LEGS)
def test_reordered_boards_are_the_same_boards(leg: Leg) -> None:
    seats = seats_of(cohort_of(4, 1))
    boards = boards_of(Attempt(seats))
    for order in itertools.islice(itertools.permutations(boards[leg]), 1, 24, 5):
        go_through(seats["institution-00"], {**boards, leg: list(order)})


@pytest.mark.parametrize("elsewhere", ["run", "study"])
def test_keys_of_a_run_serve_no_other_run(elsewhere: str) -> None:
    seats = list(seats_of(cohort_of(3)).values())
    adverts = read_adverts(seats[0].cohort, RUN, [advertise(s) for s in seats])
    with refused("E_VIEW"):
        all_or_nothing.mask(seats[0], adverts, ELSEWHERE[elsewhere], QUESTION, Untouched(), Ring(64))
    with refused("E_VIEW"):
        all_or_nothing.mask(seats[0], adverts, RUN, QUESTION, Untouched(), Ring(64))
    with refused("E_KEYS"):
        read_adverts(seats[0].cohort, ELSEWHERE[elsewhere].of_run, [advertise(s) for s in seats])


@pytest.mark.parametrize("dropouts", [0, 1])
def test_keys_of_a_run_and_of_an_attempt_do_not_stand_for_each_other(dropouts: int) -> None:
    cohort = cohort_of(4, dropouts)
    wrong = ATTEMPT if dropouts == 0 else RUN
    with refused("E_KEYS"):
        read_adverts(cohort, wrong, [advertise(s) for s in seats_of(cohort, wrong).values()])


# Split views ----------------------------------------------------------------------------------------------------------


def test_institutions_that_were_shown_different_keys_do_not_go_on() -> None:
    """Ten institutions, of which the coordinator shows some the last one's keys, and others not."""
    attempt = Attempt(seats_of(cohort_of(10, 2)))
    seats = attempt.seats
    all_ten, nine = attempt.adverts(), attempt.adverts(["institution-09"])
    for split in range(1, 9):
        said = [
            dropout_tolerant.share(s, all_ten if k < split else nine) for k, s in enumerate(list(seats.values())[:9])
        ]
        for view in (all_ten, nine):
            with refused("E_VIEW"):
                dropout_tolerant.read_shares(view, said)


def test_institutions_that_were_shown_different_keys_of_a_colluder_do_not_go_on() -> None:
    attempt = Attempt(seats_of(cohort_of(10, 2, 1)))
    board = [advertise(s) for s in attempt.seats.values()]
    colluder = attempt.seats["institution-09"]
    other = again(colluder, "advertise", {**board[9].body, "mask": public_key(bytes_of("second face"))})
    faces = [read_adverts(attempt.cohort, ATTEMPT, b) for b in (board, [*board[:9], other])]
    said = [dropout_tolerant.share(s, faces[k % 2]) for k, s in enumerate(list(attempt.seats.values())[:9])]
    for face in faces:
        with refused("E_VIEW"):
            dropout_tolerant.read_shares(face, said)


def test_all_or_nothing_with_different_keys_shown_is_noise() -> None:
    """Without a further leg nobody can notice, and nothing needs to be noticed: no two masks cancel."""
    seats = list(seats_of(cohort_of(3, 0, 1)).values())
    board = [advertise(s) for s in seats]
    other = again(seats[2], "advertise", {"mask": public_key(bytes_of("second face"))})
    views = [read_adverts(seats[0].cohort, RUN, b) for b in (board, [*board[:2], other])]
    zeros = Noised(np.zeros(LEAST, np.int64))
    total = MaskedSum(Ring(64), LEAST)
    for seat, view in zip(seats[:2], views, strict=True):
        total.add(seat.name, all_or_nothing.mask(seat, view, ATTEMPT, QUESTION, zeros, Ring(64)))
    third = seats[2].secrets.mask_key(RUN)
    for view in views:  # what the colluder can take away
        others = {s.name: view.mask_keys[s.name] for s in seats[:2]}
        add_masks(total.values, pair_masks(third, seats[2].name, others, view.salt, ATTEMPT.document(), QUESTION))
    assert not looks_random(np.zeros(LEAST, np.uint64))
    assert looks_random(total.values)


def small_world() -> tuple[Attempt, Adverts, dropout_tolerant.Shares]:
    """Seven institutions, t = 5, D = 2, T = 2; the last two collude."""
    attempt = Attempt(seats_of(cohort_of(7, 2, 2)))
    adverts = attempt.adverts()
    return attempt, adverts, attempt.shares(adverts)


def test_masking_for_one_board_and_confirming_another_is_refused() -> None:
    """The attack that the board of answers is there for.

    The victim is asked to mask for a board of shares without most of those who will survive. Its only masks are then its own,
    those it shares with colluders, and those it shares with institutions that are said to have dropped out: all of
    them would be revealed. But its own statement says what it has masked for.
    """
    attempt, adverts, shares = small_world()
    names = list(attempt.seats)
    few = dropout_tolerant.read_shares(
        adverts, [dropout_tolerant.share(attempt.seats[n], adverts) for n in (*names[:3], *names[5:])]
    )
    zeros = Noised(np.zeros(3, np.int64))
    victim = dropout_tolerant.mask(attempt.seats[names[0]], few, QUESTION, zeros, Ring(64))[1]
    others = [
        dropout_tolerant.mask(attempt.seats[n], shares, QUESTION, zeros, Ring(64))[1] for n in (*names[1:2], *names[3:])
    ]
    for board in (shares, few):
        with refused("E_VIEW"):
            dropout_tolerant.read_answers(board, QUESTION, [victim, *others])
    lie = again(attempt.seats[names[0]], "mask", others[0].body)  # only the victim itself could say it
    assert dropout_tolerant.read_answers(shares, QUESTION, [lie, *others]).survivors == (names[0], names[1], *names[3:])


def test_another_question_to_one_institution_is_noticed_before_anything_is_revealed() -> None:
    attempt, _, shares = small_world()
    said = [
        dropout_tolerant.mask(s, shares, OTHER if k == 0 else QUESTION, Noised(np.zeros(3, np.int64)), Ring(64))[1]
        for k, s in enumerate(attempt.seats.values())
    ]
    for question in (QUESTION, OTHER):
        with refused("E_VIEW"):
            dropout_tolerant.read_answers(shares, question, said)


@pytest.mark.parametrize("change", ["question", "study", "run", "round", "attempt"])
def test_all_or_nothing_at_another_question_or_session_is_noise(change: str) -> None:
    seats = seats_of(cohort_of(3))
    values = {n: np.full(LEAST, 7) for n in seats}
    answers = whole_answers(seats, values, Ring(64))
    if change in ("study", "run"):
        elsewhere = ELSEWHERE[change]
        others = whole_answers(seats_of(cohort_of(3), elsewhere.of_run), values, Ring(64), elsewhere)
    else:
        context = ELSEWHERE.get(change, ATTEMPT)
        others = whole_answers(seats, values, Ring(64), context, OTHER if change == "question" else QUESTION)
    total = MaskedSum(Ring(64), LEAST)
    for k, name in enumerate(seats):
        total.add(name, others[name] if k == 0 else answers[name])
    assert looks_random(all_or_nothing.unmask(total, cohort_of(3)).values.view(np.uint64))


# Survivors ------------------------------------------------------------------------------------------------------------


def attempt_with_answers(
    size: int, dropouts: int, colluders: int = 0
) -> tuple[Attempt, dropout_tolerant.Shares, list[Statement]]:
    attempt = Attempt(seats_of(cohort_of(size, dropouts, colluders)))
    shares = attempt.shares(attempt.adverts())
    zeros = Noised(np.zeros(3, np.int64))
    return (
        attempt,
        shares,
        [dropout_tolerant.mask(s, shares, QUESTION, zeros, Ring(64))[1] for s in attempt.seats.values()],
    )


def test_survivors_below_h_and_t_are_refused() -> None:
    """t = 7 of 10 would be there; but with D = 2 the noise is dealt for 8."""
    attempt, shares, said = attempt_with_answers(10, 2, 3)
    assert attempt.cohort.threshold == 7
    with refused("E_COHORT"):
        dropout_tolerant.read_answers(shares, QUESTION, said[:7])
    dropout_tolerant.confirm(attempt.seats["institution-00"], dropout_tolerant.read_answers(shares, QUESTION, said[:8]))


def test_an_institution_confirms_no_survivors_that_it_is_not_among() -> None:
    attempt, shares, said = attempt_with_answers(10, 2)
    with refused("E_VIEW"):
        dropout_tolerant.confirm(
            attempt.seats["institution-00"], dropout_tolerant.read_answers(shares, QUESTION, said[1:])
        )


def test_survivors_have_shared_their_secrets() -> None:
    attempt, _, _ = attempt_with_answers(10, 2)
    shares = attempt.shares(attempt.adverts(), ["institution-09"])
    zeros = Noised(np.zeros(3, np.int64))
    said = [dropout_tolerant.mask(attempt.seats[n], shares, QUESTION, zeros, Ring(64))[1] for n in shares.names]
    late = again(attempt.seats["institution-09"], "mask", said[0].body)
    with refused("E_VIEW"):
        dropout_tolerant.read_answers(shares, QUESTION, [*said, late])


class Store:
    """The caller's duty in four lines: what was said in a leg of a session is kept, and nothing else is said there."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, Context], Statement] = {}

    def say(self, statement: Statement) -> Statement:
        slot = (statement.leg, statement.context)
        self.kept[slot] = require_same_statement(self.kept.get(slot), statement)
        return statement


def test_a_second_signature_on_other_survivors_is_refused_by_the_store() -> None:
    attempt, shares, said = attempt_with_answers(10, 2)
    seat, store = attempt.seats["institution-00"], Store()
    first, second = (dropout_tolerant.read_answers(shares, QUESTION, board) for board in (said, said[:9]))
    assert store.say(dropout_tolerant.confirm(seat, first)) == store.say(dropout_tolerant.confirm(seat, first))
    with refused("E_VIEW"):
        store.say(dropout_tolerant.confirm(seat, second))


@pytest.mark.parametrize(("size", "dropouts", "colluders"), [(4, 1, 1), (7, 2, 2), (10, 3, 3)])
def test_at_most_one_survivor_set_is_ever_confirmed(size: int, dropouts: int, colluders: int) -> None:
    """However honest institutions are divided between two sets, each signing once, and all colluders signing both."""
    attempt, shares, said = attempt_with_answers(size, dropouts, colluders)
    attempt.cohort.check()
    honest, helpers = list(attempt.seats)[colluders:], list(attempt.seats)[:colluders]
    boards = [dropout_tolerant.read_answers(shares, QUESTION, b) for b in (said, said[:-1])]
    opened = Counter(
        sum(is_confirmed(attempt, board, signers) for board, signers in zip(boards, sides, strict=True))
        for sides in two_sides(honest, helpers)
    )
    assert set(opened) <= {0, 1}
    assert opened[1] > 0


def two_sides(honest: list[str], helpers: list[str]) -> list[tuple[list[str], list[str]]]:
    """The last honest one is in the first set only; otherwise only numbers matter."""
    sure, rest = honest[-1], honest[:-1]
    return [([*helpers, *rest[:k], sure], [*helpers, *rest[k:]]) for k in range(len(rest) + 1)]


def is_confirmed(attempt: Attempt, answers: dropout_tolerant.AnswerBoard, signers: list[str]) -> bool:
    try:
        dropout_tolerant.read_confirmations(
            answers, [dropout_tolerant.confirm(attempt.seats[n], answers) for n in signers]
        )
    except MaskingError as error:
        assert error.code == "E_COHORT"
        return False
    return True


def test_confirmations_of_two_sets_do_not_add_up() -> None:
    attempt, shares, said = attempt_with_answers(10, 2)
    seats = list(attempt.seats.values())
    boards = [dropout_tolerant.read_answers(shares, QUESTION, b) for b in (said, said[:9])]
    mixed = [dropout_tolerant.confirm(s, boards[k % 2]) for k, s in enumerate(seats[:9])]
    for board in boards:
        with refused("E_VIEW"):
            dropout_tolerant.read_confirmations(board, mixed)


def test_no_list_makes_an_institution_both_survive_and_drop_out() -> None:
    """Flower's own protocol takes two lists and reveals both kinds of shares of whoever is in both."""
    attempt, shares, said = attempt_with_answers(10, 2)
    for gone in range(3):
        answers = dropout_tolerant.read_answers(shares, QUESTION, said[gone:])
        confirmed = attempt.confirmed(answers)
        for statement in attempt.reveals(confirmed):
            seeds, keys = set(statement.body["seeds"]), set(statement.body["keys"])
            assert not seeds & keys
            assert seeds | keys == set(shares.names)
            assert keys == set(list(attempt.seats)[:gone])


def test_a_second_reveal_is_the_first_one_or_none() -> None:
    attempt, shares, said = attempt_with_answers(10, 2)
    first, second = (dropout_tolerant.read_answers(shares, QUESTION, b) for b in (said, said[:9]))
    seat = attempt.seats["institution-00"]
    confirmed = attempt.confirmed(first)
    assert dropout_tolerant.reveal(seat, confirmed) == dropout_tolerant.reveal(seat, confirmed)
    by_others = attempt.confirmed(second, missing=[seat.name])  # the institution has confirmed the first set
    with refused("E_VIEW"):
        dropout_tolerant.reveal(seat, by_others)


def test_fewer_than_t_confirmations_reveal_nothing() -> None:
    attempt, shares, said = attempt_with_answers(10, 2)
    answers = dropout_tolerant.read_answers(shares, QUESTION, said)
    confirmations = [dropout_tolerant.confirm(s, answers) for s in attempt.seats.values()]
    with refused("E_COHORT"):
        dropout_tolerant.read_confirmations(answers, confirmations[:6])
    dropout_tolerant.reveal(
        attempt.seats["institution-00"], dropout_tolerant.read_confirmations(answers, confirmations[:7])
    )


# What colluders have --------------------------------------------------------------------------------------------------


def element(value: int) -> str:
    return value.to_bytes(SIZE, "big").hex()


def test_a_late_answer_stays_masked() -> None:
    """The coordinator has the answer of somebody that it says has dropped out, its mask key, and the colluders' shares."""
    attempt = Attempt(seats_of(cohort_of(7, 2, 2)))
    names, width = list(attempt.seats), LEAST
    shares = attempt.shares(attempt.adverts())
    values = {n: np.zeros(width, np.int64) for n in names}
    _, _, everything = attempt.answers(shares, values)
    total, answers, _ = attempt.answers(shares, values, missing=names[:1])
    confirmed = attempt.confirmed(answers)
    reveals = attempt.reveals(confirmed)
    assert dropout_tolerant.unmask(total, confirmed, reveals).values.tolist() == [0] * width
    late, places = names[0], attempt.cohort.abscissa
    keys = {places(s.institution): int(s.body["keys"][late], 16) for s in reveals[:5]}
    private = combine(keys).to_bytes(32, "big")
    assert public_key(private) == shares.adverts.mask_keys[late]
    left = everything[late].values.copy()
    others = {n: k for n, k in shares.adverts.mask_keys.items() if n != late}
    add_masks(
        left, [(k, -s) for k, s in pair_masks(private, late, others, shares.adverts.salt, *shares.bound(QUESTION))]
    )
    assert looks_random(left)  # b is left
    seat = attempt.seats[late]
    held = dropout_tolerant._own_shares(seat, shares.adverts)[0]
    own = self_mask(seat.secrets.self_seed(ATTEMPT), late, shares.adverts.salt, *shares.bound(QUESTION))
    for known in itertools.combinations(names[1:], 2):  # as many shares of b as colluders have
        guess = combine({places(n): held[n] for n in known})
        assert guess.to_bytes(SIZE, "big")[-32:] != seat.secrets.self_seed(ATTEMPT)
    add_masks(left, [(own[0], -1)])
    assert not left.any()


@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
def test_the_sum_is_opened_without_the_wrong_shares_and_names_whose_they_were(wrong: int) -> None:
    attempt = Attempt(seats_of(cohort_of(10, 2)))
    values = values_of(attempt.seats)
    total, answers, _ = attempt.answers(attempt.shares(attempt.adverts()), values)
    confirmed = attempt.confirmed(answers)
    reveals = attempt.reveals(confirmed)
    liars = list(attempt.seats)[1 : 1 + wrong]
    for k, statement in enumerate(reveals):
        if statement.institution in liars:
            seeds = {n: element((int(y, 16) + 1) % PRIME) for n, y in statement.body["seeds"].items()}
            reveals[k] = again(attempt.seats[statement.institution], "reveal", {**statement.body, "seeds": seeds})
    opened = dropout_tolerant.unmask(total, confirmed, reveals)
    assert opened.values.tolist() == sum(values.values()).tolist()
    assert opened.suspects == tuple(liars)


def test_too_many_wrong_shares_void_the_round() -> None:
    attempt = Attempt(seats_of(cohort_of(10, 2)))
    total, answers, _ = attempt.answers(attempt.shares(attempt.adverts()), values_of(attempt.seats))
    before = total.values.copy()
    confirmed = attempt.confirmed(answers)
    reveals = attempt.reveals(confirmed)
    for k in range(4):
        seeds = dict.fromkeys(reveals[k].body["seeds"], "zz" if k else element(PRIME - 1))
        reveals[k] = again(attempt.seats[reveals[k].institution], "reveal", {**reveals[k].body, "seeds": seeds})
    with refused("E_COHORT"):
        dropout_tolerant.unmask(total, confirmed, reveals)
    assert np.array_equal(total.values, before)


def test_a_wrong_share_of_a_mask_key_is_noticed_by_the_key() -> None:
    attempt = Attempt(seats_of(cohort_of(10, 2)))
    values = values_of(attempt.seats)
    names = list(attempt.seats)
    total, answers, _ = attempt.answers(attempt.shares(attempt.adverts()), values, missing=names[:2])
    confirmed = attempt.confirmed(answers)
    reveals = attempt.reveals(confirmed)
    reveals[0] = again(
        attempt.seats[names[2]], "reveal", {**reveals[0].body, "keys": dict.fromkeys(names[:2], element(1))}
    )
    opened = dropout_tolerant.unmask(total, confirmed, reveals)
    assert opened.values.tolist() == sum(values[n] for n in names[2:]).tolist()
    assert opened.suspects == (names[2],)
    with refused("E_COHORT"):
        dropout_tolerant.unmask(total, confirmed, reveals[:6])


@pytest.mark.parametrize("kind", ["seeds", "keys"])
def test_a_share_that_moves_a_secret_by_one_is_noticed(kind: str) -> None:
    """Made to fit the first seven who reveal: their shares give 32 bytes, though not the right ones."""
    attempt = Attempt(seats_of(cohort_of(10, 2)))
    values, names = values_of(attempt.seats), list(attempt.seats)
    total, answers, _ = attempt.answers(attempt.shares(attempt.adverts()), values, missing=names[9:])
    confirmed = attempt.confirmed(answers)
    reveals = attempt.reveals(confirmed)
    weight = combine({x: int(x == 1) for x in range(1, 8)})
    of = names[9] if kind == "keys" else names[3]
    moved = (int(reveals[0].body[kind][of], 16) + pow(weight, -1, PRIME)) % PRIME
    body = {**reveals[0].body, kind: {**reveals[0].body[kind], of: element(moved)}}
    reveals[0] = again(attempt.seats[names[0]], "reveal", body)
    opened = dropout_tolerant.unmask(total, confirmed, reveals)
    assert opened.values.tolist() == sum(values[n] for n in names[:9]).tolist()
    assert opened.suspects == (names[0],)


def test_a_share_that_cannot_be_opened_is_refused_before_the_answer_is_touched() -> None:
    attempt = Attempt(seats_of(cohort_of(4, 1)))
    adverts = attempt.adverts()
    said = [dropout_tolerant.share(s, adverts) for s in attempt.seats.values()]
    bad = {**said[1].body["shares"], "institution-00": "00" * (2 * SIZE + 16)}
    said[1] = again(attempt.seats["institution-01"], "share", {**said[1].body, "shares": bad})
    with refused("E_KEYS"):
        dropout_tolerant.mask(
            attempt.seats["institution-00"],
            dropout_tolerant.read_shares(adverts, said),
            QUESTION,
            Untouched(),
            Ring(64),
        )


def test_a_share_is_for_one_reader_from_one_maker() -> None:
    """The coordinator cannot pass one institution's shares on as another's, nor ask one to open another's."""
    attempt = Attempt(seats_of(cohort_of(4, 1)))
    adverts = attempt.adverts()
    said = [dropout_tolerant.share(s, adverts) for s in attempt.seats.values()]
    stolen = {**said[1].body["shares"], "institution-00": said[2].body["shares"]["institution-00"]}
    crossed = {**said[1].body["shares"], "institution-00": said[1].body["shares"]["institution-02"]}
    own = {**said[1].body["shares"], "institution-00": said[0].body["shares"]["institution-01"]}
    for bad in (stolen, crossed, own):
        board = [said[0], again(attempt.seats["institution-01"], "share", {**said[1].body, "shares": bad}), *said[2:]]
        with refused("E_KEYS"):
            dropout_tolerant.mask(
                attempt.seats["institution-00"],
                dropout_tolerant.read_shares(adverts, board),
                QUESTION,
                Untouched(),
                Ring(64),
            )


def test_what_would_be_refused_can_be_asked_before_the_answer_is_made() -> None:
    attempt = Attempt(seats_of(cohort_of(4, 1)))
    shares = attempt.shares(attempt.adverts())
    seat = attempt.seats["institution-00"]
    dropout_tolerant.require_ready(seat, shares)
    with refused("E_KEYS"):
        dropout_tolerant.require_ready(replace(seat, secrets=Secrets(bytes_of("others"))), shares)
    one = next(iter(seats_of(cohort_of(3)).values()))
    adverts = read_adverts(one.cohort, RUN, [advertise(s) for s in seats_of(cohort_of(3)).values()])
    all_or_nothing.require_ready(one, adverts, ATTEMPT)
    with refused("E_VIEW"):
        all_or_nothing.require_ready(one, adverts, ELSEWHERE["run"])


def test_the_commitment_reveals_nothing_and_is_of_one_seed() -> None:
    seeds = [bytes_of("b", k) for k in range(2)]
    reported = {commitment(s, n, c) for s in seeds for n in ("a", "b") for c in (RUN, ATTEMPT)}
    assert len(reported) == 8


# The coordinator's own checks -----------------------------------------------------------------------------------------


def test_answers_that_do_not_fit_are_left_out() -> None:
    total = MaskedSum(Ring(64), 3)
    fits = np.ones(3, np.uint64)
    total.add("north", Masked(fits))
    for name, values in (
        ("north", fits),
        ("south", np.ones(4, np.uint64)),
        ("south", np.ones(3, np.uint32)),
        ("south", np.ones((1, 3), np.uint64)),
    ):
        with refused("E_COHORT"):
            total.add(name, Masked(values))
    assert total.survivors == ("north",)
    assert total.values.tolist() == [1, 1, 1]


def test_all_or_nothing_opens_nothing_while_one_is_missing() -> None:
    seats = seats_of(cohort_of(5))
    answers = whole_answers(seats, {n: np.zeros(LEAST, np.int64) for n in seats}, Ring(64))
    total = MaskedSum(Ring(64), LEAST)
    for name in list(seats)[1:]:
        total.add(name, answers[name])
    with refused("E_COHORT"):
        all_or_nothing.unmask(total, cohort_of(5))
    assert looks_random(total.values)


def test_what_was_added_up_is_what_was_confirmed() -> None:
    attempt = Attempt(seats_of(cohort_of(4, 1)))
    shares = attempt.shares(attempt.adverts())
    total, _, _ = attempt.answers(shares, values_of(attempt.seats))
    _, fewer, _ = attempt.answers(shares, values_of(attempt.seats), missing=["institution-03"])
    confirmed = attempt.confirmed(fewer)
    with refused("E_VIEW"):
        dropout_tolerant.unmask(total, confirmed, attempt.reveals(confirmed))


# The coordinator's whole view -----------------------------------------------------------------------------------------

ALARM = 1e-9  # a test's false-alarm rate; all keys here are fixed, so that no run differs from another
WIDTH = 1 << 17
LEAST = 1 << 12


def cells(values: RingArray) -> Any:
    """(bytes of a word, 256) how often each byte stands at each place."""
    table = values.astype(values.dtype.newbyteorder("<")).view(np.uint8).reshape(len(values), -1)
    return np.array([np.bincount(column, minlength=256) for column in table.T])


def looks_random(values: RingArray) -> bool:
    """No byte of the words is other than uniform, by chi-square."""
    if len(values) < LEAST:
        raise ValueError("too few words to tell")
    counts = cells(values)
    expected = len(values) / 256
    return bool(chi2.sf(((counts - expected) ** 2 / expected).sum(axis=1), 255).min() > ALARM)


def look_alike(one: RingArray, other: RingArray) -> bool:
    """The bytes of both have one distribution, by the chi-square test of two samples."""
    a, b = cells(one), cells(other)
    return bool(chi2.sf(((a - b) ** 2 / np.maximum(a + b, 1)).sum(axis=1), 255).min() > ALARM)


@dataclass(frozen=True)
class Views:
    """Everything that the coordinator and a colluder can compute of the first honest institution's vectors, by name."""

    vectors: dict[str, RingArray]

    def tell_apart(self, other: Views) -> set[str]:
        """The vectors from which one learns what went in: not uniform, different halves, or different worlds."""
        found = set()
        for name, vector in self.vectors.items():
            half = len(vector) // 2
            uniform = looks_random(vector) and looks_random(other.vectors[name])
            if not (uniform and look_alike(vector[:half], vector[half:]) and look_alike(vector, other.vectors[name])):
                found.add(name)
        return found


def inputs(names: list[str], swapped: bool) -> dict[str, Any]:
    """Two institutions with opposite halves, or the other way round; the sum is the same."""
    low, high = (np.repeat([a, b], WIDTH // 2) for a, b in ((0, 12_345), (12_345, 0)))
    first, second = (high, low) if swapped else (low, high)
    return {n: first if k == 0 else second if k == 1 else np.zeros(WIDTH, np.int64) for k, n in enumerate(names)}


def double_views(swapped: bool) -> Views:
    """Three honest and a colluder, D = 1; two rounds. All that may be taken away from the first one's vector is."""
    found: dict[str, RingArray] = {}
    for r in (1, 2):
        attempt = Attempt(seats_of(cohort_of(4, 1, 1), replace(ATTEMPT, round=r), (swapped, r)), Ring(32))
        names = list(attempt.seats)
        shares = attempt.shares(attempt.adverts())
        total, answers, vectors = attempt.answers(shares, inputs(names, swapped))
        confirmed = attempt.confirmed(answers)
        reveals = attempt.reveals(confirmed)
        found |= opened_views(attempt, shares, vectors, reveals, r)
        opened = dropout_tolerant.unmask(total, confirmed, reveals)
        assert opened.values.tolist() == [12_345] * WIDTH
    found["rounds' difference"] = found["sent, round 1"] - found["sent, round 2"]
    return Views(found)


def opened_views(
    attempt: Attempt, shares: dropout_tolerant.Shares, vectors: dict[str, Masked], reveals: list[Statement], r: int
) -> dict[str, RingArray]:
    """The vector as it was sent, without what colluder and reveals give away, and together with one other institution's."""
    first, second, _, colluder = attempt.seats
    at, salt, bound = attempt.context, shares.adverts.salt, shares.bound(QUESTION)
    helper = attempt.seats[colluder].secrets.mask_key(at)
    known = {
        n: [self_mask(seed_from(attempt, reveals, n), n, salt, *bound)]
        + [(k, -s) for k, s in pair_masks(helper, colluder, {n: shares.adverts.mask_keys[n]}, salt, *bound)]
        for n in (first, second)
    }
    bare = {}
    for name, masks in known.items():
        bare[name] = vectors[name].values.copy()
        add_masks(bare[name], [(key, -s) for key, s in masks])
    block, own = WIDTH // 4, vectors[first].values.copy()
    add_masks(own, [(known[first][0][0], -1)])
    return {
        f"sent, round {r}": vectors[first].values,
        f"without the self mask, round {r}": own,
        f"without what is known, round {r}": bare[first],
        f"blocks' difference, round {r}": bare[first][:block] - bare[first][block : 2 * block],
        f"with the second's, round {r}": bare[first] + bare[second],
        f"less the second's, round {r}": bare[first] - bare[second],
    }


def seed_from(attempt: Attempt, reveals: list[Statement], name: str) -> bytes:
    points = {attempt.cohort.abscissa(s.institution): int(s.body["seeds"][name], 16) for s in reveals[:3]}
    return combine(points).to_bytes(32, "big")


def whole_views(swapped: bool) -> Views:
    """The same where nobody may drop out: keys of one run, two rounds, of which one is tried twice."""
    names = list(cohort_of(4, 0, 1).names)
    seats = seats_of(cohort_of(4, 0, 1), RUN, swapped)
    sent = {
        (r, a): whole_answers(seats, inputs(names, swapped), Ring(32), replace(ATTEMPT, round=r, attempt=a))
        for r, a in ((1, 1), (1, 2), (2, 1))
    }
    first = {at: answers[names[0]].values for at, answers in sent.items()}
    two = sent[1, 1][names[0]].values + sent[1, 1][names[1]].values
    return Views(
        {
            "sent": first[1, 1],
            "attempts' difference": first[1, 1] - first[1, 2],
            "rounds' difference": first[1, 1] - first[2, 1],
            "with the second's": two,
            "without the last one's": two + sent[1, 1][names[2]].values,
        }
    )


@pytest.mark.parametrize("views", [double_views, whole_views])
def test_the_coordinators_view_does_not_depend_on_who_sent_what(views: Callable[[bool], Views]) -> None:
    assert views(False).tell_apart(views(True)) == set()


def changed(change: Callable[[list[tuple[bytes, int]]], list[tuple[bytes, int]]]) -> Callable[..., Masked]:
    return lambda noised, ring, masks: masked(noised, ring, change(list(masks)))


MASKS_LEFT_OUT = {
    "all masks": (changed(lambda masks: []), "sent, round 1"),
    "the pair masks": (changed(lambda masks: masks[:1]), "without the self mask, round 1"),
    "all pair masks but the colluder's": (
        changed(lambda masks: [masks[0], masks[-1]]),
        "without what is known, round 1",
    ),
}


@pytest.mark.parametrize("left_out", MASKS_LEFT_OUT)
def test_the_view_reveals_when_masks_are_left_out(left_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant, seen = MASKS_LEFT_OUT[left_out]
    monkeypatch.setattr(dropout_tolerant, "masked", mutant)
    monkeypatch.setattr(dropout_tolerant, "unmask", lambda *_: replace_sum())
    assert seen in double_views(False).tell_apart(double_views(True))


def replace_sum() -> Any:
    """What the mutants' coordinator opens is not looked at."""
    return dropout_tolerant.UnmaskedSum(np.full(WIDTH, 12_345))


def test_the_view_reveals_when_the_first_hundredth_is_not_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    def mutant(noised: Noised, ring: Ring, masks: Iterable[tuple[bytes, int]]) -> Masked:
        values = masked(noised, ring, masks).values
        values[: WIDTH // 100] = ring.to_ring(noised.values[: WIDTH // 100])
        return Masked(values)

    monkeypatch.setattr(all_or_nothing, "masked", mutant)
    assert "sent" in whole_views(False).tell_apart(whole_views(True))


def test_the_view_reveals_when_pads_serve_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pair keys that are not bound to round and attempt."""
    monkeypatch.setattr(
        all_or_nothing, "pair_masks", lambda key, name, others, salt, *_: pair_masks(key, name, others, salt)
    )
    found = whole_views(False).tell_apart(whole_views(True))
    assert {"attempts' difference", "rounds' difference"} <= found
    assert "sent" not in found


def test_the_view_reveals_when_the_key_stream_starts_again_in_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def mutant(noised: Noised, ring: Ring, masks: Iterable[tuple[bytes, int]]) -> Masked:
        values, reported = ring.to_ring(noised.values), list(masks)
        for start in range(0, len(values), WIDTH // 4):
            add_masks(values[start : start + WIDTH // 4], reported)
        return Masked(values)

    monkeypatch.setattr(dropout_tolerant, "masked", mutant)
    monkeypatch.setattr(dropout_tolerant, "unmask", lambda *_: replace_sum())
    known = {"blocks' difference, round 1", "sent, round 1"}
    assert known & double_views(False).tell_apart(double_views(True))


# Seeds that can be tried out ------------------------------------------------------------------------------------------


def weak_key(key: bytes) -> bytes:
    """What the seeds of Flower's own protocol are worth, scaled down from 28 bits to 12 so that a test can try all."""
    return (int.from_bytes(key, "big") % 4096).to_bytes(32, "big")


def tried_out(vector: RingArray) -> list[RingArray]:
    """What small numbers the vector holds under the mask of some weak key, added or subtracted."""
    found = []
    for key, s in itertools.product(range(4096), (1, -1)):
        bare = vector.copy()
        add_masks(bare, [(key.to_bytes(32, "big"), -s)])
        if np.abs(bare.view(np.int64)).max() < 2**20:
            found.append(bare)
    return found


def test_seeds_that_can_be_tried_out_would_reveal_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two honest institutions and a colluder: one unknown mask. Statistics see nothing; trying all seeds does."""
    seats = seats_of(cohort_of(3, 0, 1))
    first, _, last = seats
    values = {n: np.arange(50) * (k + 1) for k, n in enumerate(seats)}

    def without_the_colluders(answers: dict[str, Masked], key: Callable[[bytes], bytes]) -> RingArray:
        adverts = read_adverts(cohort_of(3, 0, 1), RUN, [advertise(s) for s in seats.values()])
        known = pair_masks(
            seats[last].secrets.mask_key(RUN),
            last,
            {first: adverts.mask_keys[first]},
            adverts.salt,
            ATTEMPT.document(),
            QUESTION,
        )
        bare = answers[first].values.copy()
        add_masks(bare, [(key(k), s) for k, s in known])
        return bare

    strong = without_the_colluders(whole_answers(seats, values, Ring(64)), lambda k: k)
    monkeypatch.setattr(all_or_nothing, "masked", changed(lambda masks: [(weak_key(k), s) for k, s in masks]))
    weak = without_the_colluders(whole_answers(seats, values, Ring(64)), weak_key)
    assert [v.tolist() for v in tried_out(weak)] == [values[first].tolist()]
    assert tried_out(strong) == []


def test_given_the_sum_every_input_gives_the_same_masked_vectors_equally_often() -> None:
    """Three institutions in Z_4, all 64 triples of pair masks: what is sent depends on the sum of the inputs alone."""
    names, pairs = "abc", list(itertools.combinations("abc", 2))

    def sent(x: tuple[int, ...]) -> Counter[tuple[int, ...]]:
        return Counter(
            tuple(
                (v + sum(sign(n, (set(p) - {n}).pop()) * m for p, m in zip(pairs, pads, strict=True) if n in p)) % 4
                for n, v in zip(names, x, strict=True)
            )
            for pads in itertools.product(range(4), repeat=3)
        )

    by_sum: dict[int, list[Counter[tuple[int, ...]]]] = {}
    for x in itertools.product(range(4), repeat=3):
        by_sum.setdefault(sum(x) % 4, []).append(sent(x))
    assert all(found == several[0] for several in by_sum.values() for found in several)
    assert len({frozenset(several[0]) for several in by_sum.values()}) == 4


def test_a_whole_attempt_of_an_honest_coordinator_is_refused_by_nobody() -> None:
    """What the refusals above are worth: the same calls with nothing wrong."""
    attempt = Attempt(seats_of(cohort_of(7, 2, 2)))
    attempt.cohort.check()
    values = values_of(attempt.seats)
    assert double_sum(attempt, values).values.tolist() == sum(values.values()).tolist()
