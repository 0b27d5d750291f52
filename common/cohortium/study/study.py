"""The study: the plan that every institution signs, identified by its digest.

A study states what is asked of whom, under which privacy budget, for which generator and release. Nothing in it comes
from data. The queries and their noise follow from the study alone (plan.py), so an institution that agrees to a digest
agrees to every number that will leave it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tomli_w
from pydantic import BeforeValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError

from cohortium.data.schema import Schema, load_schema, schema_from_document, to_document
from cohortium.errors import StudyError
from cohortium.masking.cohort import SMALLEST, Cohort
from cohortium.privacy.accounting import MAX_DELTA, MAX_EPSILON, MIN_DELTA, MIN_EPSILON
from cohortium.study.generators import CLOSED, GeneratorPlan, Histories, Trained
from cohortium.system.arguments import path as as_path
from cohortium.system.canonical import digest
from cohortium.system.documents import read_toml
from cohortium.system.filenames import Name
from cohortium.system.pages import page
from cohortium.system.problems import first_problem, in_words
from cohortium.system.texts import has_unseen

_A_TIME = "it has a time, but a study expires at the end of a day (UTC): write the day alone, such as 2026-01-31"
_WITH_TIME = re.compile(r"[0-9]:[0-9]")
MAX_ROWS = 50_000_000
UNSET = 0.0  # no epsilon or delta is promised
EDITION = 2  # of what studies ask by default (plan.py); a study that names none was written before there were two


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """What is promised per person over the whole study; neighbouring tables differ by adding or removing one person.

    trust: ``local``: every message is private by itself, also towards the coordinator. ``secure-sum``: institutions add
    shares of the noise and mask what they send; the coordinator sees only the sum.
    dropouts: D; under secure-sum this many institutions may be missing when a sum is opened. 0: all or nothing.
    colluders: T; under secure-sum the promise holds even if this many share all they know with the coordinator.
    rows_per_person: m; further rows of a person are left out at random, inside the institution.
    equal_weight: what weighs the same, the ``rows`` that are used, or the ``persons``: then all rows of a person are
    used and weigh as much as one row together (contribution_bounding.py), and rows_per_person stays 1.
    institutions_per_person: g; the promise holds for persons in at most g institutions.
    population: a public upper bound on the number of persons, if there is one; delta must be below its inverse.
    mode: ``private``, or ``none``: no privacy at all, for research on tables that are public anyway. Nobody can sign
    such a study, and no institution or coordinator runs it. It promises nothing, so epsilon and delta are left out;
    defaults that depend on the budget (rounds, the network's width) take their value at the largest budget.
    """

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    epsilon: Annotated[float, Strict(), Field(ge=MIN_EPSILON, le=MAX_EPSILON)] = UNSET
    delta: Annotated[float, Strict(), Field(ge=MIN_DELTA, le=MAX_DELTA)] = UNSET
    mode: Literal["private", "none"] = "private"
    trust: Literal["local", "secure-sum"] = "local"
    dropouts: Annotated[int, Strict(), Field(ge=0, le=1_000)] = 0
    colluders: Annotated[int, Strict(), Field(ge=0, le=1_000)] = 0
    rows_per_person: Annotated[int, Strict(), Field(ge=1, le=10_000)] = 1
    equal_weight: Literal["rows", "persons"] = "rows"
    institutions_per_person: Annotated[int, Strict(), Field(ge=1, le=1_000)] = 1
    population: Annotated[int, Strict(), Field(ge=1)] | None = None

    def __post_init__(self) -> None:
        for name, largest in (("epsilon", MAX_EPSILON), ("delta", MAX_DELTA)):
            value = getattr(self, name)
            if self.mode == "private" and value == UNSET:
                raise StudyError("E_PLAN_PRIVACY", f"privacy.{name}", "it is missing", "Set what is promised.")
            if self.mode == "none" and value not in (UNSET, largest):
                raise _nothing_promised(f"privacy.{name}")
            object.__setattr__(self, name, largest if self.mode == "none" else value)

    @property
    def counted(self) -> str:
        """How much of a person counts, in words."""
        if self.equal_weight == "persons":
            return "all rows together count as much as one row"
        m = self.rows_per_person
        return "one row counts at most" if m == 1 else f"at most {m} rows count"


@dataclass(frozen=True, kw_only=True)
class ReleasePlan:
    """rows: how many synthetic rows; by default the noised number of rows of all institutions together."""

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    rows: Annotated[int, Strict(), Field(ge=1, le=MAX_ROWS)] | None = None


@dataclass(frozen=True, kw_only=True)
class Institution:
    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    name: Name
    key: Annotated[str, Field(pattern=r"^(ed25519:[0-9a-f]{64})?$")] = ""


def _day(value: object) -> object:
    """A day without a time: a study is answered until the end of that day (UTC)."""
    if isinstance(value, datetime | time) or (isinstance(value, str) and _WITH_TIME.search(value)):
        raise in_words(_A_TIME)
    if isinstance(value, int | float):
        raise in_words("it is not a date such as 2026-01-31")
    return value


@dataclass(frozen=True, kw_only=True)
class Study:
    """What every institution signs: schema, privacy, generator, institutions and release. ``digest`` identifies it.

    edition: of the rules by which the plan follows from the study. 1: single columns are counted cell by cell, and pairs
    with weights that follow from the study. 2: single columns are counted at several resolutions, and the noised number
    of rows decides which of some public weights the pairs get. A file that names none is of edition 1, whenever it is read.
    simulated: whoever runs it made up its institutions. Only a simulation sets it, before they sign, so that neither
    their signatures nor the release can pass for a federation's.
    Raises StudyError, which names the field that is wrong.

    >>> import cohortium
    >>> study = cohortium.load_study("release/study.toml")
    >>> study.privacy.epsilon, study.institution_names, len(study.digest)
    (5.0, ('north', 'south', 'west'), 64)
    """

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    name: Name
    schema: Schema
    privacy: Privacy
    generator: GeneratorPlan
    institutions: Annotated[tuple[Institution, ...], Field(min_length=1, max_length=1000)]
    release: ReleasePlan = field(default_factory=ReleasePlan)
    purpose: str = ""
    expires: Annotated[date | None, BeforeValidator(_day)] = None
    serial: Annotated[int, Strict(), Field(ge=1)] = 1
    edition: Annotated[int, Strict(), Field(ge=1, le=EDITION)] = EDITION
    simulated: Annotated[bool, Strict()] = False

    def __post_init__(self) -> None:
        if any(map(has_unseen, self.purpose.split("\n"))):
            raise StudyError("E_PLAN_INVALID", "study.purpose", "it has invisible characters", "Remove them.")
        if isinstance(self.expires, datetime):
            raise StudyError("E_PLAN_INVALID", "study.expires", _A_TIME, "Correct the study.")
        names = self.institution_names
        if len(set(names)) < len(names):
            raise StudyError("E_PLAN_INVALID", "study", "two institutions have the same name", "Give each its own.")
        keys = [i.key for i in self.institutions if i.key]
        if len(set(keys)) < len(keys):
            raise StudyError("E_PLAN_INVALID", "study", "two institutions have the same key", "Give each its own.")
        several = self.privacy.rows_per_person > 1
        if (several or self.privacy.equal_weight == "persons") and self.schema.person is None:
            raise StudyError(
                "E_PRIVACY_UNIT",
                "study",
                f"{'rows_per_person is above 1' if several else 'persons are to weigh the same'} but the schema has no person column",
                "Declare whose rows they are with person = true.",
            )
        if several and self.privacy.equal_weight == "persons":
            raise StudyError(
                "E_PLAN_PRIVACY",
                "privacy.rows_per_person",
                "it is above 1, but where persons weigh the same all rows count as one together",
                'Leave it at 1, or set equal_weight = "rows".',
            )
        self._check_events()
        if self.privacy.institutions_per_person > len(names):
            raise StudyError(
                "E_PLAN_INVALID", "privacy.institutions_per_person", "there are fewer institutions", "Lower it."
            )
        population = None if self.privacy.mode == "none" else self.privacy.population
        if population is not None and self.privacy.delta >= 1 / population:
            raise StudyError(
                "E_PLAN_PRIVACY", "privacy.delta", "it is not below one over the population", "Lower delta."
            )
        for target in self.generator.targets:
            self.schema.index(target)
        self._check_trust()

    def _check_events(self) -> None:
        """Tables of events are for one generator, and bound by themselves how much of a person counts."""
        if not self.schema.tables:
            return
        if not isinstance(self.generator, Histories):
            what = "the schema has tables of events, which are for histories alone"
            raise StudyError("E_PLAN_INVALID", "generator.kind", what, 'Set kind = "histories".')
        if self.edition < 2:
            what = "tables of events came with edition 2"
            raise StudyError("E_PLAN_INVALID", "study.edition", what, "Set edition = 2.")
        if self.privacy.rows_per_person > 1 or self.privacy.equal_weight == "persons":
            what, fix = "the schema has one row a person, and says how many events count", "Leave it out."
            raise StudyError("E_PLAN_PRIVACY", "privacy.rows_per_person", what, fix)

    @property
    def counted(self) -> str:
        """How much of a person counts, in words."""
        if not self.schema.tables:
            return self.privacy.counted
        most = ", ".join(f"{t.most} of {t.name}" for t in self.schema.tables)
        return f"one row counts, and of the events at most {most}, all together up to a length that the study fixes"

    def __hash__(self) -> int:
        """Hashes the number of institutions, not each of them: every answer looks up the plan by this hash."""
        of_all = (
            self.name,
            self.serial,
            self.edition,
            self.schema,
            self.privacy,
            self.generator,
            self.release,
            self.expires,
        )
        return hash((*of_all, len(self.institutions)))

    def __repr__(self) -> str:
        """One line: generator, number of institutions and privacy budget."""
        p = self.privacy
        promise = "no privacy" if p.mode == "none" else f"epsilon {p.epsilon:g}, delta {p.delta:g}"
        return f"<Study {self.name!r}: {self.generator.kind}, {len(self.institutions)} institutions, {promise}>"

    def _repr_html_(self) -> str:
        p = self.privacy
        lines = [
            f"institutions: {', '.join(self.institution_names)}",
            f"trust: {p.trust}",
            f"of a person {self.counted} per institution, in at most {p.institutions_per_person} institutions",
            repr(self.schema).strip("<>"),
        ]
        return page(repr(self).strip("<>"), lines)

    def _check_trust(self) -> None:
        if self.privacy.trust == "secure-sum":
            self.cohort.check_numbers()
            if isinstance(self.generator, Trained) and (self.generator.steps or 1) > 1:
                raise StudyError(
                    "E_PLAN_INVALID",
                    "generator.steps",
                    "under masks every step is a round of its own: institutions share the noise of each sum",
                    'Remove steps and set rounds, or choose trust = "local".',
                )
        elif self.privacy.dropouts or self.privacy.colluders:
            raise StudyError(
                "E_PLAN_INVALID",
                "privacy.dropouts",
                "dropouts and colluders belong to masked sums",
                'Remove them, or choose trust = "secure-sum".',
            )

    @property
    def institution_names(self) -> tuple[str, ...]:
        return tuple(i.name for i in self.institutions)

    @cached_property
    def keys(self) -> Mapping[str, str]:
        """Public keys by the institution's name, empty where it has none yet."""
        return {i.name: i.key for i in self.institutions}

    @property
    def cohort(self) -> Cohort:
        """The institutions that are summed together, and what they tolerate."""
        return Cohort(dict(self.keys), self.privacy.dropouts, self.privacy.colluders)

    @property
    def honest(self) -> int:
        """How many institutions' noise is counted on in what the coordinator sees: one in a message, H in a masked sum."""
        return self.cohort.honest if self.privacy.trust == "secure-sum" else 1

    @property
    def answers_needed(self) -> int:
        """How many institutions must answer a round: all, or under masks as many as the cohort needs."""
        return self.cohort.least if self.privacy.trust == "secure-sum" else len(self.institutions)

    @property
    def target_indices(self) -> tuple[int, ...]:
        """Column positions of the generator's targets; the schema's own where the study names none."""
        return tuple(sorted(self.schema.index(t) for t in self.generator.targets or self.schema.targets))

    @cached_property
    def digest(self) -> str:
        return digest({**study_to_document(self), "schema": to_document(self.schema)})


_ADAPTER: TypeAdapter[Study] = TypeAdapter(Study)
_OF_PRIVACY = {"sampling_rate", "steps", "rounds", "clip"}  # of a generator: noise is computed from them


def study_from_document(document: dict[str, Any], schema: Schema, where: str = "study") -> Study:
    """A study from the content of a ``study.toml``; every problem is a StudyError that names the field."""
    document = dict(document)
    head = {k: v for k, v in _head(document, where).items() if k != "schema"}
    document.pop("study", None)
    head.setdefault("edition", 1)
    if "institution" in document:
        document["institutions"] = document.pop("institution")
    document = _with_trust(_require_no_promise(document, where))
    try:
        return _ADAPTER.validate_python({**head, **document, "schema": schema})
    except ValidationError as error:
        place, what = first_problem(error, Study)
        private = place.startswith("privacy") or place.rpartition(".")[2] in _OF_PRIVACY
        code = "E_PLAN_PRIVACY" if private else "E_PLAN_INVALID"
        raise StudyError(code, f"{where}, {place}", what, "Correct the study.") from None


def as_written(study: Study) -> Study:
    """The study as its file would load it: 1 becomes 1.0 where a fraction is allowed, since their digests differ."""
    return study_from_document(study_to_document(study), schema_from_document(to_document(study.schema)))


def _require_no_promise(document: dict[str, Any], where: str) -> dict[str, Any]:
    """StudyError E_PLAN_PRIVACY where a study without privacy sets an epsilon or a delta."""
    privacy = document.get("privacy")
    if isinstance(privacy, dict) and privacy.get("mode") == "none":
        for name in ("epsilon", "delta"):
            if name in privacy:
                raise _nothing_promised(f"{where}, privacy.{name}")
    return document


def _nothing_promised(where: str) -> StudyError:
    what = "a study without privacy promises none"
    return StudyError("E_PLAN_PRIVACY", where, what, 'Leave it out, or leave out mode = "none".')


def _with_trust(document: dict[str, Any]) -> dict[str, Any]:
    """Sets ``trust`` where the document leaves it out: secure-sum, if there are enough institutions."""
    privacy, institutions = document.get("privacy"), document.get("institutions")
    if not isinstance(privacy, dict) or "trust" in privacy or not isinstance(institutions, list | tuple):
        return document
    generator = document.get("generator")
    alone = isinstance(generator, dict) and "steps" in generator  # steps between rounds are private by themselves
    trust = "secure-sum" if len(institutions) >= SMALLEST and not alone else "local"
    return {**document, "privacy": {**privacy, "trust": trust}}


def study_to_document(study: Study) -> dict[str, Any]:
    """The study as the content of a ``study.toml`` without the schema's content."""
    head = {
        "name": study.name,
        "purpose": study.purpose,
        "serial": study.serial,
        "expires": study.expires and study.expires.isoformat(),
        "edition": None if study.edition == 1 else study.edition,  # left out of it, as of studies signed earlier
        "simulated": study.simulated or None,  # left out of others, so that digests of studies signed earlier stay
    }
    sections: dict[str, Any] = {
        "study": {**head, "schema": "schema.toml"},
        "privacy": _promised(study.privacy),
        "generator": vars(study.generator),
        "release": vars(study.release),
        "institution": [vars(i) for i in study.institutions],
    }
    return {k: _without_empty(v) for k, v in sections.items() if _without_empty(v)}


def _promised(privacy: Privacy) -> dict[str, Any]:
    """The privacy section. The default mode is left out, so that digests of studies signed earlier stay the same."""
    hidden = {"epsilon", "delta"} if privacy.mode == "none" else {"mode"}
    return {k: v for k, v in vars(privacy).items() if k not in hidden}


def _without_empty(section: Any) -> Any:
    if isinstance(section, list):
        return [_without_empty(s) for s in section]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in section.items() if v not in (None, "", ())}


def load_study(path: Path | str) -> Study:
    """A study and the schema file it names, which lies beside it.

    Raises InputError for a file that cannot be read, StudyError E_PLAN_INVALID or E_PLAN_PRIVACY, and what ``load_schema`` raises.

    >>> import cohortium
    >>> cohortium.load_study("release/study.toml").generator.kind
    'sweep'
    """
    path = as_path("path", path)
    document = read_toml(path)
    schema = load_schema(path.parent / str(_head(document, path.name).get("schema", "schema.toml")))
    return study_from_document(document, schema, path.name)


def _head(document: dict[str, Any], where: str) -> dict[str, Any]:
    head = document.get("study", {})
    if not isinstance(head, dict):
        raise StudyError("E_PLAN_INVALID", f"{where}, study", "it is not a section", "Correct the study.")
    return head


def dumps_study(study: Study) -> str:
    return tomli_w.dumps(study_to_document(study))


def dumps_schema(schema: Schema) -> str:
    return tomli_w.dumps(to_document(schema))
