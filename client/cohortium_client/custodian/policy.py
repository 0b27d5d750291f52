"""What an institution allows, whatever a study says: ``policy.toml``, which nobody else writes or sees.

epsilon_per_population = 10.0    # the most these people may ever spend here, over all studies
delta = 1e-6                     # the delta that spend is stated at
epsilon_if_all_collude = 20.0    # the most they may spend towards somebody who knows what all other institutions sent
epsilon_per_study = 3.0          # no study that promises less than this, at delta or below, is signed or answered
generators = ["sweep"]           # by default all
columns = ["age", "result"]      # the only columns of persons that a study's schema may name; by default all
events = { labs = ["day"] }      # the only tables of events, and columns of each; by default all, and none where columns are named
minimum_institutions = 3         # how many must take part
require_approval = true          # a person lets every run go ahead: cohortium institution approve
repeatable = false               # whether a study may be answered more than once, as far as the cap allows
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError

from cohortium.errors import PolicyError
from cohortium.ledger.caps import Cap, Caps
from cohortium.privacy.accounting import MAX_DELTA, MIN_DELTA, cost
from cohortium.study.consent import require_privacy, require_signable
from cohortium.study.plan import all_person_events, charged_in_all
from cohortium.study.study import Study
from cohortium.system.documents import read_toml
from cohortium.system.problems import first_problem

Epsilon = Annotated[float, Strict(), Field(gt=0)]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The rules of one institution. ``epsilon_per_population`` is None only where no real people's privacy is at stake."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)
    epsilon_per_population: Epsilon | None = None
    delta: Annotated[float, Strict(), Field(ge=MIN_DELTA, le=MAX_DELTA)] = 1e-6
    epsilon_if_all_collude: Epsilon | None = None
    epsilon_per_study: Epsilon | None = None
    generators: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    events: Mapping[str, tuple[str, ...]] | None = None
    minimum_institutions: Annotated[int, Strict(), Field(ge=1)] = 1
    require_approval: Annotated[bool, Strict()] = False
    repeatable: Annotated[bool, Strict()] = False

    def check(self, study: Study) -> None:
        """PolicyError E_POLICY naming the first rule that ``study`` breaks; no policy allows one without privacy, or a draft."""
        require_signable(study)
        for rule, broken in self._rules(study).items():
            if broken:
                raise PolicyError(
                    "E_POLICY",
                    f"policy.toml, {rule}",
                    f"study {study.name!r} {broken}",
                    "Agree on another study, or decide on another policy.",
                )

    def _rules(self, study: Study) -> dict[str, str]:
        """For every rule, how the study breaks it, or an empty text."""
        asked, count = self._asked(study), len(study.institutions)
        foreign = [n for n in study.schema.own_names if self.columns is not None and n not in self.columns]
        events = self._foreign_events(study)
        kind = study.generator.kind
        return {
            "epsilon_per_study": _if(
                self.epsilon_per_study is not None and asked > self.epsilon_per_study,
                f"asks for epsilon {asked:g}, at most {self.epsilon_per_study} is allowed",
            ),
            "generators": _if(
                self.generators is not None and kind not in self.generators, f"uses the generator {kind!r}"
            ),
            "columns": _if(bool(foreign), f"asks for {', '.join(map(repr, foreign))}"),
            "events": _if(bool(events), f"asks for {', '.join(events)}"),
            "minimum_institutions": _if(
                count < self.minimum_institutions,
                f"has {count} institutions, at least {self.minimum_institutions} are required",
            ),
        }

    def _foreign_events(self, study: Study) -> list[str]:
        """What the study asks of events and may not. Whoever named columns before there were events has allowed none of these."""
        if self.events is None and self.columns is None:
            return []
        allowed, found = self.events or {}, []
        for table in study.schema.tables:
            if table.name not in allowed:
                found.append(f"the table of events {table.name!r}")
            else:
                others = [c.name for c in table.columns if c.name not in allowed[table.name]]
                found += [f"{name!r} of {table.name!r}" for name in others]
        return found

    def _asked(self, study: Study) -> float:
        """The study's epsilon at no larger a delta than the policy's, so that no study looks cheaper by a larger delta."""
        if self.epsilon_per_study is None or study.privacy.delta <= self.delta:
            return study.privacy.epsilon
        return max(study.privacy.epsilon, cost(all_person_events(study), self.delta).epsilon)

    def caps(self, study: Study) -> Caps:
        """The caps on answers to ``study``; unless studies are repeatable, also the cost of its plan here, once."""
        require_privacy(study)  # there is no cap on what is not noised
        of_all = self.epsilon_per_population
        population = None if of_all is None else Cap(of_all, self.delta, "epsilon_per_population")
        collude = self.epsilon_if_all_collude
        bare = None if collude is None else Cap(collude, self.delta, "epsilon_if_all_collude")
        return Caps(population, self._study_cap(study), bare)

    def _study_cap(self, study: Study) -> Cap | None:
        if not self.repeatable:
            own = cost(charged_in_all(study), study.privacy.delta).epsilon
            return Cap(own, study.privacy.delta, "repeatable", once=True)
        delta = min(study.privacy.delta, self.delta)
        return None if self.epsilon_per_study is None else Cap(self.epsilon_per_study, delta, "epsilon_per_study")


def _if(broken: bool, what: str) -> str:
    return what if broken else ""


def load_policy(path: Path) -> Policy:
    """Read a policy file, which must state how much its population may ever spend. PolicyError E_POLICY names a problem's place."""
    return policy_of(read_toml(path), path.name)


@cache
def _adapter() -> TypeAdapter[Policy]:
    """Made once: it takes longer than all else that reading a file does."""
    return TypeAdapter(Policy)


def policy_of(document: dict[str, Any], where: str) -> Policy:
    """The policy that a document describes; raises as ``load_policy`` does, naming its place in ``where``."""
    try:
        policy = _adapter().validate_python(document)
    except ValidationError as error:
        place, what = first_problem(error, Policy)
        raise PolicyError("E_POLICY", f"{where}, {place}", what, "Correct the file.") from None
    if policy.epsilon_per_population is None:
        raise PolicyError(
            "E_POLICY",
            f"{where}, epsilon_per_population",
            "it does not say how much may ever be spent",
            "Decide on it, for example epsilon_per_population = 10.0.",
        )
    return policy
