"""A report as a parser of HTML sees it, and what it is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser

import numpy as np

from cohortium.data.columns import Boolean, Categorical, Column, Continuous, Datetime, Ordinal
from cohortium.data.encoding import Codes
from cohortium.data.schema import Schema
from cohortium.neural.state import write_state
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries.counts import Counts
from cohortium.queries.histograms import NestedHistograms
from cohortium.queries.marginals import Marginals
from cohortium.study.plan import plan
from cohortium.study.study import GeneratorPlan, Institution, Privacy, Study
from cohortium_server.generators import Measured, Sum
from cohortium_server.generators.cells import Cells
from cohortium_server.generators.tables import measured_tables

NASTY = "<script>alert('x')</script> & \"quoted\" {{ 7 * 7 }}"
COLUMNS: tuple[Column, ...] = (
    Categorical(name=NASTY, categories=("<b>bold</b>", "a & b", "it's"), description="<i>tags</i>"),
    Boolean(name="smoker", nullable=True),
    Datetime(name="arrival", lower=datetime(2020, 1, 1), upper=datetime(2020, 12, 31), nullable=True, bins=40),
    Continuous(name="temperature", lower=34.0, upper=43.0, decimals=1, unit="°C", bins=8),
    Continuous(name="cost", lower=-500, upper=1e6, scale="asinh", points=(0.0,), bins=64),
    Ordinal(name="pain", categories=("none", "some", "much")),
    Categorical(name="ward", categories=tuple(f"ward {k}" for k in range(40))),
)


def study(generator: GeneratorPlan, columns: tuple[Column, ...] = COLUMNS, institutions: int = 2) -> Study:
    return Study(
        name="clinics",
        purpose="Compare <wards> & triage",
        schema=Schema(columns=columns),
        privacy=Privacy(epsilon=1.0, delta=1e-6),
        generator=generator,
        institutions=tuple(Institution(name=f"clinic {k}") for k in range(institutions)),
    )


def codes(sizes: Iterable[int], rows: int = 600, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    sizes = tuple(sizes)
    return np.random.default_rng(seed).integers(0, sizes, (rows, len(sizes))).astype(np.int16)


def measure(
    study: Study, rows: np.ndarray[tuple[int, int], np.dtype[np.int16]], sigma: float = 3.0
) -> tuple[Measured, ...]:
    """Every table the study's plan asks for, of these rows, with noise."""
    found: tuple[Measured, ...] = ()
    rng, sizes = np.random.default_rng(1), study.schema.sizes
    for query in (p.query for p in plan(study).phases if isinstance(p.query, Counts)):
        if isinstance(query, Marginals) and query.merged:
            cells = Cells.of(study.schema, study.generator.bins, found).merged.astype(np.float64)
            choice = {"choice": np.zeros(1)} if query.choices else {}
            query = query.with_state(write_state({"cells": cells} | choice))
        counts = query.contribute(Codes(rows, np.arange(len(rows)), sizes), SecureRandomness()).values / query.grid
        noised = ((counts + rng.normal(0, sigma, query.width)) * query.grid).astype(np.int64)
        reported = measured_tables(Sum(query, noised, 1, 1.0))
        if isinstance(query, NestedHistograms):
            reported = tuple({m.columns: m for m in reported}.values())
        found = (*found, *(replace(m, sigma=sigma) for m in reported))
    return found


class Page(HTMLParser):
    """Tags, attributes and texts of a page; open tags must be closed in order."""

    VOID = frozenset({"meta", "br", "link", "img", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open and data.strip():
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.texts).replace("\u202f", " ")
