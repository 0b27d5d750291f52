"""The public report on a release: one HTML file that anybody may read, print and keep.

Only facts come in that are public, noised or synthetic; no real row ever does, so nothing here can leak one.
The file runs no script and loads nothing. Drawings are SVG inside the page and follow its colours, light or
dark. The same facts give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, StrictUndefined, Template

from cohortium.data.encoding import Events
from cohortium.study.carrying import FIT, NOISE
from cohortium.study.guarantee import guarantees
from cohortium.study.plan import Plan, plan
from cohortium.study.study import Study
from cohortium.study.wording import Cast, Kind, kind_words
from cohortium_server.gate import Criterion, Verdict
from cohortium_server.generators import Curve, Measured, Sum
from cohortium_server.release.answers import Answers
from cohortium_server.release.carried import Carried
from cohortium_server.release.page.budget import guarantee_view, phase_view
from cohortium_server.release.page.columns import column_views
from cohortium_server.release.page.curves import chart, drawable
from cohortium_server.release.page.drawing import associations_map, bars, cells_map, differences_map
from cohortium_server.release.page.events import event_views
from cohortium_server.release.page.evidence import Evidence
from cohortium_server.release.page.numerals import number, percent, plural, small
from cohortium_server.release.page.pairs import associations, differences
from cohortium_server.release.page.questions import questions as asked_questions


@dataclass(frozen=True)
class Facts:
    """The input of the report.

    synthetic: (rows, columns) codes of the released rows. rows_measured: the noised number of real rows.
    provenance: versions, run, digests, in the order in which they are shown. curves: the course of the fit.
    answers: to questions about the real table, with errors. kind: what ran the study. carried: what users can count on. masked:
    False for a simulation that made no masks. events: of the released persons. steps: the noised counts of what follows on what.
    """

    kind: Kind
    study: Study
    plan: Plan
    synthetic: npt.NDArray[np.int16]
    measured: tuple[Measured, ...]
    rows_measured: int
    verdict: Sequence[Criterion]
    provenance: Mapping[str, str]
    curves: Sequence[Curve] = ()
    answers: Answers | None = None
    carried: Carried | None = None
    masked: bool = True
    events: tuple[Events, ...] = ()
    steps: Sum | None = None

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.study.schema.sizes, self.synthetic, self.measured, self.rows_measured)


def render_report(facts: Facts) -> str:
    """The report as the text of one HTML file."""
    study, evidence = facts.study, facts.evidence
    columns = column_views(study.schema.columns, evidence)
    apart = differences(evidence, columns)
    given_up = facts.plan.rounds - plan(study).rounds
    stated = math.ceil(1e4 * facts.plan.cost.epsilon) / 1e4 if given_up else study.privacy.epsilon
    return _template().render(
        facts=facts,
        study=study,
        words=Cast.of(study, facts.masked),
        kind_words=kind_words(facts.kind),
        privacy=study.privacy,
        cost=facts.plan.cost,
        odds=math.exp(stated),
        stated=stated,
        given_up=given_up,
        promised=[guarantee_view(g) for g in guarantees(study, facts.plan, facts.masked)],
        phases=[phase_view(study, p, facts.measured) for p in facts.plan.phases],
        names=study.schema.names,
        columns=columns,
        inside=sum(c.inside for c in columns),
        barred=sum(c.barred for c in columns),
        answered=asked_questions(facts.answers, study.target_indices) if facts.answers else (),
        curves=[drawn for curve in facts.curves if (drawn := drawable(curve))],
        differences=apart,
        associations=None if apart.pairs else associations(evidence, columns),
        carried=facts.carried,
        limits={"noise": NOISE, "fit": FIT},
        tables=event_views(study.schema, facts.synthetic, facts.events, facts.steps),
        passed=Verdict(tuple(facts.verdict)).passed,
    )


@cache
def _template() -> Template:
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters.update(percent=percent, number=number, small=small, plural=plural)
    page.globals.update(bars=bars, differences_map=differences_map, associations_map=associations_map)
    page.globals.update(cells_map=cells_map, chart=chart, style=_file("report.css"))
    return page.from_string(_file("report.html"))


def _file(name: str) -> str:
    return (resources.files("cohortium_server.release.page") / name).read_text(encoding="utf-8")
