"""What is promised against whom: the same study costs a person differently for different adversaries.

In trust mode ``local`` every message is private by itself. Whoever sees messages (the coordinator, alone or with
institutions that do not hold the person) sees those of the g institutions that do: their events compose, whatever the
coordinator asked and whatever others lent it.

The public sees the release only: tables, model, account and report, all of them computed from the *sums* over the K
institutions and from what the study states anyway. Of a single institution it holds the name, key and consent, the
planned events, and receipts: digests of messages that hold 32 secret random bytes each. They tell nothing to whoever
cannot find those bytes by trying (SHA-256 taken as a random function); so the public's claim is against everybody who
computes less than that, where all others are against anybody.
A query that shares noise (counts, gradient sums) is answered with integers plus noise, and their sum carries K
independent noises and so is worth more than one message:

1. *Sensitivity.* The g institutions that hold the person change the sum by v = v_1 + ... + v_g, each of L2 norm at
   most s on the noise's scale, and each zero unless that institution has sampled the person, independently of others.
2. *The noise of the sum.* Let X, Y be discrete Gaussians on the integers with variances a and b, r = a b / (a + b).
   Pr[X + Y = n] is proportional to the sum over x of exp(-x²/2a - (n - x)²/2b), that is to
   exp(-n²/2(a + b)) h(n) with h(n) = sum over x of exp(-(x - n a/(a + b))²/2r). By Poisson summation h(n) is
   sqrt(2 pi r) (1 + 2 sum over j >= 1 of exp(-2 pi² r j²) cos(2 pi j n a/(a + b))), constant up to 1 ± t,
   t = 2 q/(1 - q), q = exp(-2 pi² r). So X + Y has the probabilities of the discrete Gaussian of variance a + b up to a factor
   (1 + t)/(1 - t). Adding K of variance s² one by one, r is at least s²/2 each time: ``sum_error``. (Kairouz, Liu,
   Steinke 2021, arXiv 2102.06387, bound the same divergence.) At the least noise that is drawn, 3 grid units, a
   thousand institutions make it 1e-35; below one unit it would not be small.
3. *Rounding.* discrete_gaussian.py's lemma holds for any integer vector v and any variance: the discrete Gaussian of variance K s²
   is post-processed continuous noise of variance K s² - 4. That is the sum of g independent noises of variance
   (K s² - 4)/g, so the sum is computed from v_1, ..., v_g with one of these each: g mechanisms, Gaussian or Gaussian on a Poisson
   sample, of noise multiplier sqrt(K/g) z sqrt(1 - 4/(K s²)), z being the multiplier of one message. Without sampling
   they compose to one of multiplier sqrt(K) z sqrt(1 - 4/(K s²)) / g.
4. *The sampler.* The noises of all K institutions are relied on now, so all their draws count, and one more for steps 2
   and 3; where they do not fit into the part of delta kept for them, nothing is gained.
5. With g = K this is the coordinator's cost (K institutions, each z) but for the -4; it is never more, because K >= g.

For ``LocalTraining`` nothing is gained: its noise goes through a training, and messages are weighted by noised counts.
There the public's events are the coordinator's.

The public's claim holds if the coordinator publishes nothing but the release and all K institutions added
their noise. Whoever has seen messages of another attempt, too, is not the public.
An institution that reads the release is not the public: it can subtract what it sent. The coordinator's claims cover it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from cohortium.errors import NotPrivateError
from cohortium.privacy.accounting import (
    FALSE_POSITIVES,
    RESERVE,
    Cost,
    Events,
    attack_rate,
    composed,
    cost,
    repeated,
)
from cohortium.privacy.discrete_gaussian import SLACK, SMALLEST, look_ups, sum_error
from cohortium.study.plan import Phase, Plan, person_events
from cohortium.study.study import Study
from cohortium.study.wording import ADVERSARIES, COORDINATOR, PUBLIC, WITH_ALL_OTHERS, WITH_SOME, Adversary, Cast


@dataclass(frozen=True)
class Guarantee:
    """What is promised towards an adversary.

    attack_rate: the largest true-positive rate of any test of whether a person took part, at a false-positive rate of
    ``FALSE_POSITIVES``. words: the same for people. towards, sees: who the adversary is, and what they have in this study.
    """

    adversary: Adversary
    words: str
    cost: Cost
    attack_rate: float
    towards: str
    sees: str

    def document(self) -> dict[str, Any]:
        """A JSON object, for ``study show``, ledger.json and the manifest."""
        return {
            "adversary": self.adversary,
            "towards": self.towards,
            "sees": self.sees,
            **asdict(self.cost),
            "attack_rate": self.attack_rate,
            "words": self.words,
        }


def guarantees(study: Study, agreed: Plan, masked: bool = True) -> tuple[Guarantee, ...]:
    """What the study promises towards each adversary, in the order of ``ADVERSARIES``.

    masked: False for a simulation that added up its institutions' answers itself (``Cast``): other words, the same numbers.
    NotPrivateError E_NOT_PRIVATE for a study without privacy: it promises nothing, so there is no number.
    """
    if study.privacy.mode == "none":
        raise NotPrivateError(
            "E_NOT_PRIVATE", f"study {study.name!r}", "it promises nothing to anybody", "Run it for research only."
        )
    events = events_towards(study, agreed)
    return tuple(_guarantee(study, adversary, events[adversary], masked) for adversary in ADVERSARIES)


def events_towards(study: Study, agreed: Plan) -> dict[Adversary, Events]:
    """A person's events as each adversary sees them. agreed: the plan, or what was charged of it (``plan.with_attempts``)."""
    return _local(study, agreed) if study.privacy.trust == "local" else _secure_sum(study, agreed)


def _guarantee(study: Study, adversary: Adversary, events: Events, masked: bool) -> Guarantee:
    rate, delta = attack_rate(events, study.privacy.delta), study.privacy.delta
    cast = Cast.of(study, masked)
    words = risk_words(rate)
    return Guarantee(adversary, words, cost(events, delta), rate, cast.towards(adversary), cast.sees(adversary))


def risk_words(rate: float) -> str:
    """A true-positive rate at ``FALSE_POSITIVES``, as a sentence."""
    return (
        f"Whoever tests whether a given person took part, and is wrong about {100 * FALSE_POSITIVES:g} in 100 who did not, "
        f"is right about at most {in_hundred(rate)} in 100 who did."
    )


def in_hundred(rate: float) -> str:
    """A rate in 100, to one decimal, rounded up."""
    return f"{math.ceil(1000 * rate) / 10:.1f}"


def _local(study: Study, agreed: Plan) -> dict[Adversary, Events]:
    """A person's events as each adversary sees them in trust mode ``local``."""
    messages = composed(e for p in agreed.phases for e in repeated(p.events, study.privacy.institutions_per_person))
    return {a: _public_events(study, agreed, messages) if a == PUBLIC else messages for a in ADVERSARIES}


def _secure_sum(study: Study, agreed: Plan) -> dict[Adversary, Events]:
    """A person's events as each adversary sees them in trust mode ``secure-sum``.

    The coordinator, alone or with T institutions, sees sums with at least H = K - D - T noises that it does not know;
    more are never counted on, not even against the public. Where T is 0, together with one institution it knows one noise
    more, as does any participant who reads the release. Together with all others it sees every message under its own
    noise alone, and the messages of the g institutions compose.
    """
    held_by = study.privacy.institutions_per_person
    sums = composed(e for p in agreed.phases for e in person_events(study, p.events))
    against_all = composed(e for p in agreed.phases for e in repeated(p.collusion_events, p.rounds * held_by))
    some = (
        sums
        if study.privacy.colluders
        else composed(e for p in agreed.phases for e in person_events(study, _less_one(p)))
    )
    return {PUBLIC: sums, COORDINATOR: sums, WITH_SOME: some, WITH_ALL_OTHERS: against_all}


def _less_one(phase: Phase) -> Events:
    """The events of a masked phase for somebody who knows one of the H noises. H is at least 3 where T is 0."""
    return repeated(phase.query.events(math.sqrt(phase.honest - 1) * phase.multiplier), phase.rounds)


def _public_events(study: Study, agreed: Plan, messages: Events) -> Events:
    """The events of the sums, or ``messages`` where the sums are not certain to cost less."""
    delta = study.privacy.delta
    sums = composed(e for p in agreed.phases for e in _summed(p, study))
    less = cost(sums, delta).epsilon <= cost(messages, delta).epsilon
    return sums if less and _covered(study, agreed, cost(sums, delta).epsilon) else messages


def _summed(phase: Phase, study: Study) -> Events:
    """What the sum of a phase's answers costs a person who is in g of the K institutions (steps 1 to 3 above)."""
    held_by = study.privacy.institutions_per_person
    if not phase.query.shares_noise:
        return repeated(phase.events, held_by)
    whole = phase.query.events(math.sqrt(len(study.institutions)) * phase.multiplier)
    parts = (replace(e, noise_multiplier=e.noise_multiplier / math.sqrt(held_by)) for e in whole)
    return repeated(tuple(parts), held_by * phase.rounds)


def _covered(study: Study, agreed: Plan, epsilon: float) -> bool:
    """Whether the sampler's error in all noises that the public's claim relies on fits into its part of delta."""
    institutions, draws = len(study.institutions), 0
    for phase in agreed.phases:
        count, scale = phase.query.draws(phase.multiplier)
        relied_on = institutions + 1 if phase.query.shares_noise else study.privacy.institutions_per_person
        draws += phase.rounds * look_ups(scale, count) * relied_on
    fits = draws * SLACK * (1 + math.exp(epsilon)) <= RESERVE * study.privacy.delta
    return fits and sum_error(SMALLEST, institutions) <= SLACK / 2
