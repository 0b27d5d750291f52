"""Findings compared with claims. An alarm is a contradiction; no alarm is not a proof."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cohortium.privacy.accounting import attack_rate, cost, gaussian_epsilon
from cohortium_simulation.audit.attack import Scores
from cohortium_simulation.audit.detectors import (
    FloatArray,
    IntArray,
    Likeness,
    Scale,
    Words,
    expected_mu,
    likeness,
    one_run_bound,
    repeats_chance,
    residue_chance,
    scale_chance,
    scale_limits,
    self_likeness,
    separation,
    shape_chance,
    shift_limits,
    uniform_chance,
)
from cohortium_simulation.audit.noise_law import Noise
from cohortium_simulation.audit.noise_runs import AGAIN, FIRST, FORKED, RESTARTED, NoiseRuns, Observed

ALPHA = 1e-8  # of every single test; an audit has fewer than a thousand, so all of them together stay below 1e-5
ONE_RUN_DELTA = 1e-12  # delta of detector A, whose own slack grows with delta
TOLERANCE = 1.02  # by which the shift of a canary may pass what is claimed: it is worked out, not drawn
COMPARED = 1 << 16  # coordinates of a message that detector D looks at

SEES = {
    "A": "assumes nothing and sees only gross failures, such as no noise at all. A low value is no evidence of privacy.",
    "B": "sees persons who count for more than they may, and noise of about half of what it should be; no finer fault.",
    "C": "sees noise that is too small, too large or of another kind. It cannot see what a person changes.",
    "D": "sees noise used before, in another run, round, institution or process. It cannot see who knows a seed.",
    "F": "sees masks left out or used before. It cannot see who knows a mask, or could find its key by trying.",
}


@dataclass(frozen=True)
class Finding:
    """One test. value and limit: what was found and what is allowed, as numbers; found and claimed: as words."""

    detector: str
    name: str
    where: str
    value: float
    limit: float
    found: str
    claimed: str
    alarm: bool


# A and B


def of_scores(phase: str, seen: Scores, delta: float) -> list[Finding]:
    where = f"{phase}, {seen.view.seen}"
    return [_one_run(where, seen), _trade_off(where, seen, delta), _shift(where, seen)]


def _one_run(where: str, seen: Scores) -> Finding:
    bound = one_run_bound(seen.scores, seen.included, ONE_RUN_DELTA, ALPHA)
    limit = cost(seen.view.events, ONE_RUN_DELTA).epsilon
    return Finding(
        "A",
        "one run",
        where,
        bound,
        limit,
        f"epsilon at least {bound:.2f}",
        f"epsilon {limit:.2f} at delta {ONE_RUN_DELTA:g}",
        bound > limit,
    )


def _trade_off(where: str, seen: Scores, delta: float) -> Finding:
    found = separation(seen.scores, seen.included, ALPHA)
    allowed = attack_rate(seen.view.events, delta, found.false_positives) if found.false_positives < 1 else 1.0
    bound, limit = epsilon_of(found.mu, delta), cost(seen.view.events, delta).epsilon
    best = epsilon_of(expected_mu(seen.view.shift, len(seen.scores), ALPHA), delta)
    return Finding(
        "B",
        "trade-off",
        where,
        bound,
        limit,
        f"epsilon at least {bound:.2f} (could show about {best:.2f})",
        f"epsilon {limit:.2f} at delta {delta:g}",
        found.true_positives > allowed,
    )


def epsilon_of(mu: float, delta: float) -> float:
    return gaussian_epsilon(min(mu, 30.0), delta) if mu > 0 else 0.0


def _shift(where: str, seen: Scores) -> Finding:
    found, view = shift_limits(seen.scores, seen.included, ALPHA), seen.view
    too_much, too_little = found.low > view.most * TOLERANCE, found.high < view.shift / 2
    few = not math.isfinite(found.high)
    return Finding(
        "B",
        "a canary's shift",
        where,
        0.0 if few else (found.low + found.high) / 2,
        view.most,
        "too few canaries to tell" if few else f"{found.low:.2f} to {found.high:.2f} of the noise",
        f"{view.shift:.2f}, at most {view.most:.2f}",
        too_much or too_little,
    )


# C


def of_noise(runs_for_noise: NoiseRuns) -> list[Finding]:
    """Of every phase's messages and sums the law of the noise, over all runs."""
    noises: dict[str, list[Noise]] = defaultdict(list)
    for observed in itertools.chain.from_iterable(runs_for_noise.runs.values()):
        for seen, noise in (("messages", observed.messages), ("sum", observed.total)):
            if noise is not None:
                noises[f"{observed.phase}, {seen}"].append(noise)
    return [finding for where, found in noises.items() for finding in _law(where, found)]


def of_weights(runs_for_noise: NoiseRuns) -> list[Finding]:
    """The noise of the numbers of persons that come with a training's answers."""
    return [
        _of_scale("numbers of persons", f"{phase}, messages", scale_limits(float((n**2).sum()), n.size, ALPHA / 2))
        for phase, n in runs_for_noise.weights.items()
    ]


def _law(where: str, noises: Sequence[Noise]) -> list[Finding]:
    parts = [_joined(alike) for alike in zip(*(n.parts for n in noises), strict=True)]
    by_scale: dict[float, list[IntArray]] = defaultdict(list)
    for sigma, integers in parts:
        by_scale[sigma].append(integers)
    alike = [(sigma, np.concatenate(integers)) for sigma, integers in by_scale.items()]
    return [
        _scale(where, noises),
        _chance("C", "each table's scale", where, (scale_chance(_squares(n, s), len(n)) for s, n in parts)),
        _chance("C", "shape", where, (shape_chance(n, s) for s, n in alike)),
        _chance("C", "last digits", where, (residue_chance(n, s) for s, n in alike)),
        _chance("C", "repeated values", where, (repeats_chance(n, s) for s, n in alike)),
    ]


def _joined(alike: Sequence[tuple[float, IntArray]]) -> tuple[float, IntArray]:
    return alike[0][0], np.concatenate([integers for _, integers in alike])


def _squares(integers: IntArray, sigma: float) -> float:
    return float(((integers / sigma) ** 2).sum())


def _scale(where: str, noises: Sequence[Noise]) -> Finding:
    squares = math.fsum(n.squares + float((n.standard**2).sum()) for n in noises)
    freedom = sum(n.freedom + n.integers.size for n in noises)
    return _of_scale("scale", where, scale_limits(squares, freedom, ALPHA / 2))


def _of_scale(name: str, where: str, limits: Scale) -> Finding:
    return Finding(
        "C",
        name,
        where,
        limits.high,
        1.0,
        f"{limits.low:.4f} to {limits.high:.4f} of the claim",
        "1",
        not limits.low <= 1 <= limits.high,
    )


def _chance(detector: str, name: str, where: str, chances: Iterable[float]) -> Finding:
    """The least of several chances, times their number (Bonferroni)."""
    several = list(chances)
    chance = min(1.0, min(several) * len(several))
    found = f"chance {chance:.2g}"
    return Finding(detector, name, where, chance, ALPHA, found, f"chance above {ALPHA:g}", chance < ALPHA)


# D


def of_reuse(runs_for_noise: NoiseRuns) -> list[Finding]:
    runs = runs_for_noise.runs
    first = runs[FIRST]
    pairs = {
        "another run": _aligned(first, runs[AGAIN]),
        "after a restart": _aligned(first, runs[RESTARTED]),
        "after a fork": _forks(runs),
        "other institutions": [p for observed in first for p in _neighbours(observed.messages)],
        "other rounds": [p for a, b in itertools.pairwise(first) if a.phase == b.phase for p in _aligned((a,), (b,))],
    }
    found = [_reuse(name, [likeness(a, b) for a, b in several]) for name, several in pairs.items() if several]
    within = [self_likeness(v) for observed in first for v in _vectors(observed)]
    same = "the same bytes" if runs_for_noise.repeated else "other bytes"
    again = Finding(
        "D",
        "the same question again",
        "",
        float(runs_for_noise.repeated),
        1.0,
        same,
        "the same bytes",
        not runs_for_noise.repeated,
    )
    return [*found, _reuse("within an answer", within), again]


def _vectors(observed: Observed) -> list[FloatArray]:
    """The noises of a round, in units of their claimed scale: of each message, or of the sum where these are masked."""
    noise = observed.messages or observed.total
    return [] if noise is None else list(noise.standard[:, :COMPARED])


def _aligned(one: Iterable[Observed], two: Iterable[Observed]) -> list[tuple[FloatArray, FloatArray]]:
    rounds = zip(one, two, strict=False)
    return [pair for a, b in rounds for pair in zip(_vectors(a), _vectors(b), strict=True)]


def _neighbours(noise: Noise | None) -> list[tuple[FloatArray, FloatArray]]:
    if noise is None:
        return []
    return list(itertools.combinations(noise.standard[:, :COMPARED], 2))


def _forks(runs: Mapping[str, tuple[Observed, ...]]) -> list[tuple[FloatArray, FloatArray]]:
    if FORKED[0] not in runs:
        return []
    one, two = (runs[name] for name in FORKED)
    return [*_aligned(one, two), *_aligned(runs[FIRST], one)]


def _reuse(name: str, found: Sequence[Likeness]) -> Finding:
    """The most alike of several pairs; its chance is that of one, times their number."""
    worst = min(found, key=lambda one: (one.chance, -abs(one.correlation)))
    chance = min(1.0, worst.chance * len(found))
    return Finding(
        "D",
        name,
        "",
        chance,
        ALPHA,
        f"correlation {worst.correlation:+.3f}, chance {chance:.2g}",
        f"chance above {ALPHA:g}",
        chance < ALPHA,
    )


# F


def of_masks(runs_for_noise: NoiseRuns) -> list[Finding]:
    """Whether what was sent under masks is uniform, by itself and against what was sent elsewhere; nothing without masks.

    The sum binds all answers of a round together. So one of them is left out: the others are independent. The
    differences between neighbours are fewer by one again.
    """
    runs = [
        [observed.masked for observed in run if observed.masked is not None] for run in runs_for_noise.runs.values()
    ]
    if not any(runs):
        return []
    sent = list(itertools.chain.from_iterable(runs))
    elsewhere = [a[:-1] - b[:-1] for other in runs[1:] for a, b in zip(runs[0], other, strict=False)]
    neighbours = [a[1:-1] - a[:-2] for a in runs[0]]
    return [
        _chance("F", "masked answers", "", (_uniform(v[:-1] for v in sent), _uniform(v[1:] for v in sent))),
        _chance("F", "against other runs", "", (_uniform(elsewhere),)),
        _chance("F", "against other institutions", "", (_uniform(neighbours),)),
    ]


def _uniform(several: Iterable[Words]) -> float:
    """Of words of either size; rounds may be masked in different rings."""
    by_size: dict[int, list[Any]] = defaultdict(list)
    for v in several:
        by_size[v.itemsize].append(v.ravel())
    chances = [uniform_chance(np.concatenate(words)) for words in by_size.values()]
    return min(1.0, len(chances) * min(chances)) if chances else 1.0
