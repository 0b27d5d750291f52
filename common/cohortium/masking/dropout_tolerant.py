"""Dropout-tolerant masked sums: the double masking of Bonawitz et al. 2017 on the complete graph; D institutions may drop out.

Bonawitz, Ivanov, Kreuter, Marcedone, McMahan, Patel, Ramage, Segal, Seth: Practical Secure Aggregation for
Privacy-Preserving Machine Learning, CCS 2017, figure 4, in the variant for an active adversary. Institution i:

    advertise   two X25519 keys, fresh for the attempt, signed                                 paper: round 0   -> U1
    share       its self seed b and its mask private key, in shares, encrypted to each         paper: round 1   -> U2
    mask        y_i = x_i + PRG(b_i) + sum over j in U2 of PRG(s_ij), - where j < i            paper: round 2   -> U3
    confirm     signs who has masked, U3                                                       paper: round 3   -> U4
    reveal      for each j one share: of b_j if j is in U3, of j's mask key if not             paper: round 4

The coordinator shows everybody the board of each leg and adds up the y. From t reveals it gets the self seeds of the
survivors and the mask keys of those who dropped out between share and mask, and takes their masks away.

NOTE[DIFF] from the paper. (1) The view, digest of the adverts, is the salt of every key and stands in every share
statement. (2) Shares are on the board, signed, with a commitment to b, so that a wrong share is noticed. (3) Masks are
bound to the board of shares and to the question. (4) With y, institutions sign which board and question they have
masked for. U3 is the board of these statements, and nobody confirms one on which they differ, or their own is not what it
was. (5) The coordinator's word about numbers is never taken: |U1|, |U2|, |U3| >= max(t, H + T, 3), by each institution.

*Why t = floor(2K/3) + 1 and T < K/3.* The coordinator and T institutions must never get, of an honest i, both b_i and
its mask key. T < t of their own shares do not give them either; an honest institution reveals one kind per j, by whether
j is in U3; so it would take two different U3, each with t confirmations. The confirming sets share at least 2t - K > K/3 > T
institutions, one of them honest, which signs once. Hence at most one U3, on one board of shares, is ever opened.

*What is opened* is the sum over U3, in which at least |U3| - T >= H institutions are honest, and nothing about fewer of them.
One who confirms has seen that every survivor signed the same board of shares, which U3 lies in. So the honest
survivors all hold pair masks with each other, under keys that nobody else has or gets, and these cancel in the sum of
all of them only. (Statement 4 is needed: an i that was asked to mask for a smaller U2, of colluders and of institutions that
are then left out of U3, would have no such mask left.)

*Liveness.* t <= K - D, so D may drop out, before or after masking. Colluders can always spoil a round, by a wrong answer
or wrong shares; that voids it or spoils its sum and reveals nothing.

*One attempt of a round.* Each attempt has noise of its own, so two sums of a round that are both opened reveal more than one.
Who has revealed in one attempt reveals in no other of the round: then two would take 2 (t - T) different honest institutions,
of which there are K - T, and 2t - T > K. (An attempt is any session with this cohort; what a round is, the caller decides.)

Pre-conditions, the caller's to keep, and the only ones: each leg of an attempt is answered once, durably, and repeated
byte for byte (``require_same_statement``), one attempt of a round is revealed in, and secrets are drawn afresh for each run, or for each
attempt. Nothing else need be stored: all else is checked against the institution's own signed statements, which
follow from secrets and boards. No leg draws anything. (One module, longer than others: the argument spans all legs.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cohortium.errors import MaskingError
from cohortium.masking.derivation import (
    DOMAIN,
    Seat,
    commitment,
    derive,
    exchange,
    pair_masks,
    public_key,
    self_mask,
)
from cohortium.masking.ring import Ring
from cohortium.masking.shamir import PRIME, SIZE, combine, split
from cohortium.masking.statements import (
    Adverts,
    Statement,
    has_fields,
    is_hex,
    keys_error,
    read_board,
    require_enough,
    require_own_advert,
    sign_statement,
    view_error,
)
from cohortium.masking.total import Masked, MaskedSum, UnmaskedSum, masked
from cohortium.privacy.discrete_gaussian import Noised
from cohortium.system.canonical import canonical_json, digest

_TAG = 16
SEALED = 2 * (2 * SIZE + _TAG)  # hex digits of two shares for one institution
_NONCE = bytes(12)  # a key encrypts one message: it is of one direction, between two, for one attempt and view
_TRIES = 1000


@dataclass(frozen=True)
class Shares:
    """A verified board of shares, U2. board: its SHA-256. sealed: hex by who made it, then by whom it is for."""

    adverts: Adverts
    board: str
    commitments: dict[str, str]
    sealed: dict[str, dict[str, str]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.sealed)

    def bound(self, question: str) -> tuple[Any, ...]:
        """What masks are bound to, beside the view."""
        return self.adverts.context.document(), question, self.board


@dataclass(frozen=True)
class AnswerBoard:
    """A verified board of who has masked an answer to the question, U3. board: its SHA-256."""

    shares: Shares
    question: str
    board: str
    survivors: tuple[str, ...]

    @property
    def dropped(self) -> tuple[str, ...]:
        """Have shared but not answered, U2 without U3."""
        return tuple(n for n in self.shares.names if n not in self.survivors)


@dataclass(frozen=True)
class Confirmed:
    """At least t of the survivors have signed the board of answers. signers: who has, U4."""

    answers: AnswerBoard
    signers: tuple[str, ...]


# Leg share ------------------------------------------------------------------------------------------------------------


def share(seat: Seat, adverts: Adverts) -> Statement:
    """Leg share: a commitment to b, and for everybody else on the board a share of b and one of the mask private key."""
    require_own_advert(seat, adverts)
    seeds, keys = _own_shares(seat, adverts)
    sealed = {other: _seal(seat, adverts, other, seeds[other], keys[other]) for other in _others(seat, adverts)}
    body = {"view": adverts.view, "commitment": _own_commitment(seat), "shares": sealed}
    return sign_statement(seat, "share", body)


def read_shares(adverts: Adverts, statements: Iterable[Statement]) -> Shares:
    """MaskingError E_KEYS for a forged or malformed statement, E_VIEW for one of another board of adverts, E_COHORT for few."""
    cohort = adverts.cohort
    board = read_board(cohort, adverts.context, "share", statements)
    require_enough(cohort, board, cohort.least)
    for name, statement in board.items():
        if name not in adverts.mask_keys:
            raise view_error(name, "it shares secrets but has not shown its keys")
        _require_share_body(name, statement.body, adverts)
    commitments = {n: s.body["commitment"] for n, s in board.items()}
    board_digest = digest([adverts.view, *(s.document() for s in board.values())])
    return Shares(adverts, board_digest, commitments, {n: s.body["shares"] for n, s in board.items()})


def _require_share_body(name: str, body: Mapping[str, Any], adverts: Adverts) -> None:
    sealed = body.get("shares")
    plain = {k: v for k, v in body.items() if k != "shares"}
    if not isinstance(sealed, dict) or not has_fields(plain, {"view": 64, "commitment": 64}):
        raise keys_error(name, "its statement of shares is malformed")
    if body["view"] != adverts.view:
        raise view_error(name, "it was shown another board of keys")
    if not has_fields(sealed, {n: 2 * (2 * SIZE + _TAG) for n in adverts.mask_keys if n != name}):
        raise keys_error(name, "its shares are not for everybody on the board, or malformed")


def _own_shares(seat: Seat, adverts: Adverts) -> tuple[dict[str, int], dict[str, int]]:
    """The shares of b and of the mask private key by institution. The polynomials do not depend on the board."""
    cohort, context, secrets = seat.cohort, seat.context, seat.secrets
    places = {cohort.abscissa(name): name for name in adverts.mask_keys}
    found = []
    for what, secret in (("seed", secrets.self_seed(context)), ("key", secrets.mask_key(context))):
        coefficients = secrets.coefficients(context, what, cohort.threshold - 1)
        values = split(int.from_bytes(secret, "big"), coefficients, places)
        found.append({name: values[x] for x, name in places.items()})
    return found[0], found[1]


def _own_commitment(seat: Seat) -> str:
    return commitment(seat.secrets.self_seed(seat.context), seat.name, seat.context)


def _others(seat: Seat, adverts: Adverts) -> list[str]:
    return [name for name in adverts.mask_keys if name != seat.name]


def _seal(seat: Seat, adverts: Adverts, other: str, seed: int, key: int) -> str:
    cipher, bound = _channel(seat, adverts, other, seat.name, other)
    return cipher.encrypt(_NONCE, seed.to_bytes(SIZE, "big") + key.to_bytes(SIZE, "big"), bound).hex()


def _open(seat: Seat, shares: Shares, other: str) -> tuple[int, int]:
    """The shares of b and of the mask key that ``other`` has made for the institution; MaskingError E_KEYS."""
    cipher, bound = _channel(seat, shares.adverts, other, other, seat.name)
    try:
        plain = cipher.decrypt(_NONCE, bytes.fromhex(shares.sealed[other][seat.name]), bound)
    except InvalidTag:
        raise keys_error(other, f"the shares that it has made for {seat.name} cannot be opened") from None
    return int.from_bytes(plain[:SIZE], "big"), int.from_bytes(plain[SIZE:], "big")


def _channel(seat: Seat, adverts: Adverts, other: str, source: str, target: str) -> tuple[AESGCM, bytes]:
    """AES-256-GCM between the institution and ``other``, in one direction, and the associated data."""
    secret = exchange(seat.secrets.encryption_key(seat.context), adverts.encryption_keys[other])
    key = derive(secret, adverts.salt, "shares", seat.context.document(), source, target)
    return AESGCM(key), DOMAIN + canonical_json([source, target, adverts.view])


# Leg mask -------------------------------------------------------------------------------------------------------------


def mask(seat: Seat, shares: Shares, question: str, noised: Noised, ring: Ring) -> tuple[Masked, Statement]:
    """Leg mask: the answer under the self mask and the pair masks with U2, and which board and question it is for.

    question: digest of what this institution is asked, hex. MaskingError E_KEYS, E_VIEW before anything is computed from
    ``noised``; E_KEYS also if the shares that somebody has made for this institution cannot be opened.
    """
    require_ready(seat, shares)
    others = {name: shares.adverts.mask_keys[name] for name in shares.names if name != seat.name}
    salt, bound, secrets = shares.adverts.salt, shares.bound(question), seat.secrets
    pairs = pair_masks(secrets.mask_key(seat.context), seat.name, others, salt, *bound)
    own = self_mask(secrets.self_seed(seat.context), seat.name, salt, *bound)
    return masked(noised, ring, [own, *pairs]), sign_statement(seat, "mask", masked_for(shares, question))


def require_ready(seat: Seat, shares: Shares) -> None:
    """All that ``mask`` refuses for, to be asked before a charge and before any row is read."""
    require_own_shares(seat, shares)
    for other in shares.names:
        if other != seat.name:
            _open(seat, shares, other)


def masked_for(shares: Shares, question: str) -> dict[str, Any]:
    """What is signed with a masked answer."""
    return {"shares": shares.board, "question": question}


def read_answers(shares: Shares, question: str, statements: Iterable[Statement]) -> AnswerBoard:
    """U3: who has masked for this board of shares and this question; question: what the reader was asked itself.

    MaskingError E_VIEW if somebody has masked for another, E_COHORT if they are few, E_KEYS for a forged statement.
    """
    adverts = shares.adverts
    board = read_board(adverts.cohort, adverts.context, "mask", statements)
    require_enough(adverts.cohort, board, adverts.cohort.least)
    for name, statement in board.items():
        if name not in shares.names:
            raise view_error(name, "it has masked an answer but not shared its secrets")
        if statement.body != masked_for(shares, question):
            raise view_error(name, "it has masked for another board of shares or another question")
    board_digest = digest([shares.board, *(s.document() for s in board.values())])
    return AnswerBoard(shares, question, board_digest, tuple(board))


def require_own_shares(seat: Seat, shares: Shares) -> None:
    """The board is of this session and shows the institution's own keys and shares; MaskingError E_VIEW, E_KEYS."""
    require_own_advert(seat, shares.adverts)
    if seat.name not in shares.names:
        raise view_error(seat.name, "it is shown a board of shares that it is not on")
    if shares.commitments[seat.name] != _own_commitment(seat):
        raise keys_error(seat.name, "the board shows another commitment of it than its own")


# Leg confirm ----------------------------------------------------------------------------------------------------------


def confirm(seat: Seat, answers: AnswerBoard) -> Statement:
    """Leg confirm: sign U3, and with it all boards before; MaskingError E_VIEW unless this institution's answer is in it."""
    require_own_shares(seat, answers.shares)
    if seat.name not in answers.survivors:
        raise view_error(seat.name, "it is to confirm survivors of which it is none")
    return sign_statement(seat, "confirm", {"answers": answers.board})


def read_confirmations(answers: AnswerBoard, statements: Iterable[Statement]) -> Confirmed:
    """MaskingError E_VIEW unless all are survivors and confirm this same board, E_COHORT if fewer than t do."""
    adverts = answers.shares.adverts
    board = read_board(adverts.cohort, adverts.context, "confirm", statements)
    require_enough(adverts.cohort, board, adverts.cohort.threshold)
    for name, statement in board.items():
        if name not in answers.survivors or statement.body != {"answers": answers.board}:
            raise view_error(name, "it has confirmed other survivors or boards")
    return Confirmed(answers, tuple(board))


# Leg reveal -----------------------------------------------------------------------------------------------------------


def reveal(seat: Seat, confirmed: Confirmed) -> Statement:
    """Leg reveal: of each j in U2 one share, of b_j if it survived, of its mask key if it dropped out.

    MaskingError E_VIEW unless this institution is among those who confirmed. As ``confirm`` is sent once, what is
    revealed is the same whenever it is asked for.
    """
    answers = confirmed.answers
    shares = answers.shares
    require_own_shares(seat, shares)
    if seat.name not in confirmed.signers:
        raise view_error(seat.name, "it is to reveal shares for survivors that it has not confirmed")
    seeds, keys = _own_shares(seat, shares.adverts)
    opened = {n: _open(seat, shares, n) for n in shares.names if n != seat.name}
    opened[seat.name] = seeds[seat.name], keys[seat.name]
    body = {
        "answers": answers.board,
        "seeds": {name: _element(opened[name][0]) for name in answers.survivors},
        "keys": {name: _element(opened[name][1]) for name in answers.dropped},
    }
    return sign_statement(seat, "reveal", body)


def _element(value: int) -> str:
    return value.to_bytes(SIZE, "big").hex()


# The coordinator ------------------------------------------------------------------------------------------------------


def unmask(total: MaskedSum, confirmed: Confirmed, reveals: Iterable[Statement]) -> UnmaskedSum:
    """Take away the survivors' self masks and their pair masks with those who dropped out.

    MaskingError E_VIEW if the answers added up are not the survivors', or a reveal is about something else; E_COHORT if
    fewer than t have revealed, or so many shares are wrong that a secret cannot be had: the round is void. Until the
    masks are known, ``total`` is left as it is.
    """
    if total.survivors != confirmed.answers.survivors:
        raise view_error("survivors", "the answers that were added up are not those of the confirmed survivors")
    recovery = _Recovery(confirmed.answers, _read_reveals(confirmed.answers, reveals))
    masks = recovery.masks_left()
    return UnmaskedSum(total.opened(masks), tuple(sorted(recovery.suspects)))


def _read_reveals(answers: AnswerBoard, statements: Iterable[Statement]) -> dict[str, Mapping[str, Any]]:
    adverts = answers.shares.adverts
    board = read_board(adverts.cohort, adverts.context, "reveal", statements)
    require_enough(adverts.cohort, board, adverts.cohort.threshold)
    for name, statement in board.items():
        body = statement.body
        if name not in answers.survivors or body.get("answers") != answers.board:
            raise view_error(name, "it has revealed shares for other survivors or boards")
        due = {"seeds": set(answers.survivors), "keys": set(answers.dropped)}
        if set(body) != {"answers", *due} or any(not isinstance(body[k], dict) or set(body[k]) != due[k] for k in due):
            raise keys_error(name, "it has revealed other shares than those that are due")
    return {name: statement.body for name, statement in board.items()}


class _Recovery:
    """Recovers secrets from revealed shares, of which some may be wrong, and records whose were."""

    def __init__(self, answers: AnswerBoard, revealed: Mapping[str, Mapping[str, Any]]) -> None:
        self.answers, self.revealed, self.suspects = answers, revealed, set[str]()
        cohort = answers.shares.adverts.cohort
        self.places, self.threshold = {n: cohort.abscissa(n) for n in revealed}, cohort.threshold

    def masks_left(self) -> list[tuple[bytes, int]]:
        """All that is in the sum beside the answers, as (mask key, sign)."""
        answers, adverts = self.answers, self.answers.shares.adverts
        bound = answers.shares.bound(answers.question)
        masks = [self_mask(self._seed(n), n, adverts.salt, *bound) for n in answers.survivors]
        survivors = {n: adverts.mask_keys[n] for n in answers.survivors}
        for name in answers.dropped:
            own_side = pair_masks(self._mask_key(name), name, survivors, adverts.salt, *bound)
            masks += [(key, -sign) for key, sign in own_side]  # what is in the sum are the survivors' sides
        return masks

    def _seed(self, name: str) -> bytes:
        shares = self.answers.shares
        context, committed = shares.adverts.context, shares.commitments[name]
        return self._secret(name, "seeds", lambda seed: commitment(seed, name, context) == committed)

    def _mask_key(self, name: str) -> bytes:
        advertised = self.answers.shares.adverts.mask_keys[name]
        return self._secret(name, "keys", lambda private: public_key(private) == advertised)

    def _secret(self, of: str, kind: str, is_it: Callable[[bytes], bool]) -> bytes:
        """The 32 bytes that ``is_it`` knows; MaskingError E_COHORT if no subset of t shares that is tried gives them."""
        of_secret = {n: body[kind][of] for n, body in self.revealed.items()}
        shares = {n: int(y, 16) for n, y in of_secret.items() if is_hex(y, 2 * SIZE) and int(y, 16) < PRIME}
        for subset in self._subsets(list(shares)):
            points = {self.places[n]: shares[n] for n in subset}
            value = combine(points)
            if value < 2**256 and is_it(value.to_bytes(32, "big")):
                self._suspect(points, shares, of_secret)
                return value.to_bytes(32, "big")
        raise MaskingError(
            "E_COHORT",
            of,
            "too many of the revealed shares of its secret are wrong; the round is void",
            "Let the coordinator begin a new attempt; what was answered is charged.",
        )

    def _subsets(self, names: list[str]) -> Iterator[list[str]]:
        """Subsets of t: first of those never suspected, then in orders that depend on nothing but the number of names."""
        ordered = sorted(names, key=lambda n: n in self.suspects)
        if len(ordered) >= self.threshold:
            yield ordered[: self.threshold]
            orders = np.random.default_rng(0)  # not secret: which shares are tried together
            for _ in range(_TRIES if len(ordered) > self.threshold else 0):
                yield [ordered[k] for k in orders.permutation(len(ordered))[: self.threshold]]

    def _suspect(self, points: Mapping[int, int], shares: Mapping[str, int], revealed: Mapping[str, Any]) -> None:
        """Whoever's share is not on the polynomial through the right ones."""
        self.suspects |= {n for n in revealed if n not in shares or combine(points, self.places[n]) != shares[n]}
