"""An attack on whole answers: custodian, ledger and wire included, with canaries that a correct pipeline must hide.

A canary is a person who is in the table or not, by a secret coin, and whose every row falls into a cell of their own.
The attacker knows everything but the coins. From how well the noised sums tell the coins a lower bound on the privacy
loss follows (Gaussian differential privacy, Clopper-Pearson limits); it must not pass the claim. Cells without a
canary show the noise itself: its size, and that it is drawn afresh. Each planted bug must be caught.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from cohortium import noise, wire
from cohortium.encoding import Codes
from cohortium.neural.state import write_state
from cohortium.plan import plan
from cohortium.privacy.accounting import cost, gaussian_epsilon, total_mu
from cohortium.privacy.ledger import Ledger
from cohortium.queries import local_training, marginals
from cohortium.queries.local_training import OUT_GRID, LocalTraining
from cohortium.queries.marginals import Marginals
from cohortium.schema import Continuous, Schema
from cohortium.study import Autoregressive, Institution, Privacy, Study, Sweep
from cohortium_client import custodian as custodian_module
from cohortium_client.custodian import Custodian, Population

ALPHA = 1e-7
ROWS_EACH = 8
DELTA = 1e-6


def column(name: str, cells: int) -> Continuous:
    return Continuous(name=name, lower=0, upper=cells - 1, bins=cells)


def study(generator: Any, *columns: Continuous) -> Study:
    return Study(
        name="audit",
        schema=Schema(person="who", columns=columns),
        privacy=Privacy(epsilon=5.0, delta=DELTA),
        generator=generator,
        institutions=(Institution(name="north"),),
    )


COUNTS = study(Sweep(components=10), column("a", 4096), column("b", 6))
TRAINING = study(Autoregressive(rounds=1, steps=4, sampling_rate=1.0, clip=0.25), column("a", 768))
TABLES = 5  # of canaries in the attack on training, each trained on twice


@dataclass(frozen=True)
class Seen:
    """What an attacker makes of the runs: a score for every canary, and the noise where there is none.

    residuals: of some runs, and of as many others. sigma: the noise's claimed standard deviation.
    epsilon: the claimed cost of one run's messages at DELTA; mu: the same as the sensitivity over the noise.
    """

    included: np.ndarray
    scores: np.ndarray
    residuals: tuple[np.ndarray, np.ndarray]
    sigma: float
    epsilon: float
    mu: float

    @property
    def effect(self) -> float:
        """By how many of the noise's standard deviations a canary moves its score, on average."""
        return float(self.scores[self.included].mean() - self.scores[~self.included].mean()) / self.sigma


def canaries(count: int, sizes: tuple[int, ...]) -> tuple[np.ndarray, Codes]:
    """(count,) who is included, and the table: ROWS_EACH rows of each, all in the canary's own cell."""
    included = np.frombuffer(os.urandom(count), np.uint8) < 128
    who = np.repeat(np.flatnonzero(included), ROWS_EACH)
    values = np.zeros((len(who), len(sizes)), np.int16)
    values[:, 0] = who
    return included, Codes(values, who, sizes)


def ask(custodian: Custodian, asked: wire.Request, width: int) -> np.ndarray:
    answer = wire.decode_answer(custodian.answer(wire.encode_request(asked)), width)
    assert isinstance(answer, wire.Reply), answer
    return answer.values


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def attack_counts(ledger: Ledger) -> Seen:
    """One run's counts; a second one of the same table for its noise."""
    (phase,) = plan(COUNTS).phases
    query = phase.query
    assert isinstance(query, Marginals)
    included, codes = canaries(4000, COUNTS.schema.sizes)
    custodian = Custodian("north", COUNTS, codes, ledger, Population("canaries"))
    requests = [wire.Request(COUNTS.digest, f"{run:032x}", 0, 0) for run in (1, 2)]
    one, two = (query.split(ask(custodian, r, query.width))[0, 1] for r in requests)
    residuals = one[:, 1:].ravel(), two[:, 1:].ravel()
    sigma = query.sigmas(phase.multiplier)[0]
    claimed = cost(phase.events, DELTA).epsilon
    return Seen(included, one[: len(included), 0], residuals, sigma, claimed, total_mu(phase.events))


def attack_training(ledger: Ledger) -> Seen:
    """Two runs for each of several tables. A canary's gradient is its own bias alone, but for a small part everywhere."""
    columns, phase = plan(TRAINING).phases
    query = phase.query
    assert isinstance(query, LocalTraining)
    rate = 2.0**-7
    state = write_state({"parameters": np.zeros(query.width - 1), "rate": np.array([rate])})
    included, scores = [], []
    residuals: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for i in range(TABLES):
        who, codes = canaries(500, TRAINING.schema.sizes)
        custodian = Custodian("north", TRAINING, codes, ledger, Population("canaries"))
        included.append(who)
        for run, found in zip((f"{2 * i:032x}", f"{2 * i + 1:032x}"), residuals, strict=True):
            ask(custodian, wire.Request(TRAINING.digest, run, 0, 0), columns.query.width)
            values = ask(custodian, wire.Request(TRAINING.digest, run, 1, 0, state), query.width)
            summed = -values[1:] / OUT_GRID / rate / query.clip  # gradients of all steps, in clips
            found.append(summed[len(who) :] - summed[len(who) :].mean())
        scores.append(-summed[: len(who)])
    one, two = (np.concatenate(r) for r in residuals)
    sigma = phase.multiplier * math.sqrt(query.steps)
    claimed = cost(phase.events, DELTA).epsilon
    mu = total_mu(phase.events)
    return Seen(np.concatenate(included), np.concatenate(scores), (one, two), sigma, claimed, mu)


# Detectors


def loss_bound(seen: Seen) -> float:
    """Lower confidence bound (1 - ALPHA) on the privacy loss as epsilon at DELTA.

    The threshold is chosen on one half of the canaries and judged on the other.
    """
    half = len(seen.scores) // 2
    thresholds = np.quantile(seen.scores[:half], np.linspace(0.02, 0.98, 49))
    best = max(thresholds, key=lambda t: separation(seen.scores[:half], seen.included[:half], t))
    mu = separation(seen.scores[half:], seen.included[half:], best)
    return gaussian_epsilon(mu, DELTA) if mu > 0 else 0.0


def separation(scores: np.ndarray, included: np.ndarray, threshold: float) -> float:
    missed = upper_limit(int((scores[included] <= threshold).sum()), int(included.sum()))
    false = upper_limit(int((scores[~included] > threshold).sum()), int((~included).sum()))
    return float(stats.norm.isf(false) - stats.norm.ppf(missed))


def upper_limit(hits: int, trials: int) -> float:
    return 1.0 if hits == trials else float(stats.beta.ppf(1 - ALPHA / 2, hits + 1, trials - hits))


def scale_limits(seen: Seen) -> tuple[float, float]:
    """Confidence limits on the noise's scale over the claimed one; an upper one below 1 is too little noise."""
    residuals = np.concatenate(seen.residuals)
    squares, freedom = float((residuals**2).sum()), len(residuals) - 2 * TABLES
    low, high = (math.sqrt(squares / stats.chi2.ppf(p, freedom)) / seen.sigma for p in (1 - ALPHA, ALPHA))
    return low, high


def noise_is_fresh(seen: Seen) -> bool:
    one, two = seen.residuals
    return bool(abs(np.corrcoef(one, two)[0, 1]) < stats.norm.isf(ALPHA / 2) / math.sqrt(len(one)))


def alarms(seen: Seen) -> set[str]:
    found = {
        "loss": loss_bound(seen) > seen.epsilon,
        "scale": scale_limits(seen)[1] < 1,
        "reuse": not noise_is_fresh(seen),
    }
    return {name for name, rang in found.items() if rang}


ATTACKS = pytest.mark.parametrize("attack", [attack_counts, attack_training])


@ATTACKS
def test_a_correct_pipeline_keeps_to_its_claim(attack: Any, ledger: Ledger) -> None:
    seen = attack(ledger)
    assert alarms(seen) == set()
    assert scale_limits(seen)[0] < 1.001  # nor is there more noise than was asked for
    assert 0.7 * seen.mu < seen.effect < 1.3 * seen.mu  # the attack is no straw man: it gets what the claim allows
    assert len(ledger.entries()) == (2 if attack is attack_counts else 4 * TABLES)


@ATTACKS
@pytest.mark.parametrize("part", [0.3, 0.5, 0.85])
def test_too_little_noise_is_caught(attack: Any, ledger: Ledger, part: float, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = noise.discrete_gaussian
    monkeypatch.setattr(noise, "discrete_gaussian", lambda sigma, *rest: draw(sigma * part, *rest))
    caught = alarms(attack(ledger))
    assert "scale" in caught
    if part < 0.5 or (part == 0.5 and attack is attack_counts):  # the loss needs more canaries than the scale
        assert "loss" in caught


@ATTACKS
def test_a_missing_bound_is_caught(attack: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (marginals, local_training):
        monkeypatch.setattr(module, "at_most", lambda codes, *_: codes)
    monkeypatch.setattr(local_training._Ladder, "norms_of_persons", lambda self, n: torch.zeros(len(n)).double())
    assert alarms(attack(ledger)) >= {"loss"}


@ATTACKS
def test_noise_drawn_twice_is_caught(attack: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    class Seeded:
        def __init__(self) -> None:
            self._rng = np.random.default_rng(7)

        def words(self, count: int) -> np.ndarray:
            return self._rng.integers(0, 2**64, count, np.uint64)

    monkeypatch.setattr(custodian_module, "SecureCoins", Seeded)
    assert alarms(attack(ledger)) == {"reuse"}
