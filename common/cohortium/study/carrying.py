"""What a release carries: the pairs of columns, and the classes of a target, whose signal exceeds the noise.

A table of counts is carried if noise alone would move at most ``NOISE`` of its rows to other cells (its mean total variation
distance from the real table, before a fit smooths any of it away), and if synthetic rows and noised counts differ by at
most ``FIT`` beyond that. A class is carried if its own rows are, in each column's cells. Both thresholds were calibrated on
real tables (docs/answers.md). The first depends on cells, noise and rows alone, so it is known before anything is spent.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from cohortium.privacy.accounting import MAX_EPSILON
from cohortium.queries.counts import Counts
from cohortium.queries.marginals import Marginals
from cohortium.study.plan import Plan, at_rows, continuous_multiplier, plan
from cohortium.study.study import Study
from cohortium.study.workload import MAX_CROSSED_CELLS

NOISE, FIT = 0.3, 0.15  # total variation distance
RARE = 0.05  # the share of rows in a class for which the needed budget is reported
EXAMPLE_ROWS = 10_000
_MARGIN = 1.05  # a budget is rather overstated than understated
Columns = tuple[int, ...]


def noise_distance(cells: int, deviation: float, rows: float) -> float:
    """Mean total variation distance from a table of ``rows`` caused by noise of ``deviation`` in each of its cells."""
    return math.inf if rows <= 0 else cells * deviation * math.sqrt(2 / math.pi) / 2 / rows


def precisions(query: Counts, tables: Iterable[tuple[Columns, int, float]], order: int) -> Mapping[Columns, float]:
    """Of every table of ``order`` columns, the precision of a cell: by all ``tables`` that hold it, together.

    tables: columns, cells and the noise in each (``Counts.noises``), over the cells that the query counts.
    """
    found: defaultdict[Columns, float] = defaultdict(float)
    for table, cells, sigma in tables:
        for part in itertools.combinations(table, order):
            found[part] += math.prod(query.shape(part)) / (sigma**2 * cells)
    return found


@dataclass(frozen=True)
class Noises:
    """The noise of a plan's counts of pairs, in the sum over all institutions, in rows."""

    study: Study
    agreed: Plan

    @cached_property
    def pairs(self) -> Mapping[Columns, tuple[int, float]]:
        """By pair: its cells, and the noise's deviation in each, from all counted tables that hold it, weighted by precision."""
        found: defaultdict[Columns, float] = defaultdict(float)
        sizes: dict[Columns, int] = {}
        for phase in self.agreed.phases:
            if isinstance(query := phase.query, Marginals):
                for pair, precision in precisions(query, query.noises(phase.multiplier), 2).items():
                    sizes[pair] = math.prod(query.shape(pair))
                    found[pair] += precision
        growth = math.sqrt(len(self.study.institutions))
        return {pair: (sizes[pair], growth / math.sqrt(precision)) for pair, precision in sorted(found.items())}

    def cells(self, j: int) -> int:
        """Cells of a column as counted in pairs."""
        last = next(p.query for p in reversed(self.agreed.phases) if isinstance(p.query, Marginals))
        return last.counted[j]

    def needed(self, pair: Columns) -> float:
        """The rows needed for the pair to be carried."""
        cells, deviation = self.pairs[pair]
        return noise_distance(cells, deviation, 1) / NOISE

    def needed_of_class(self, target: int) -> float | None:
        """The rows that a class of the target needs, in the column that needs most; None where no pair with it is counted."""
        asked = [
            noise_distance(cells // self.cells(target), deviation, 1) / NOISE
            for pair, (cells, deviation) in self.pairs.items()
            if target in pair
        ]
        return max(asked, default=None) if self.cells(target) <= MAX_CROSSED_CELLS else None


def expected(study: Study, rows: int | None = None) -> dict[str, Any]:
    """What a release of the study will carry, if all institutions have ``rows`` together; a JSON object.

    rows: by default the study's ``population``, or EXAMPLE_ROWS where it names none. An ``epsilon_for`` is one that would
    be enough, or None where not even the largest is.
    """
    assumed = "asked" if rows else "population" if study.privacy.population else "example"
    rows = rows or study.privacy.population or EXAMPLE_ROWS
    noises, names = Noises(study, at_rows(study, plan(study), rows)), study.schema.names
    targets = [(t, noises.needed_of_class(t)) for t in study.target_indices] if noises.pairs else []
    most = max((noises.needed(pair) for pair in noises.pairs), default=0.0)
    return {
        "rows": rows,
        "assumed": assumed,
        "pairs": [
            {
                "columns": [names[j] for j in pair],
                "noise": round(noises.needed(pair) * NOISE / rows, 4),
                "carried": noises.needed(pair) <= rows,
            }
            for pair in noises.pairs
        ],
        "not_counted": math.comb(len(names), 2) - len(noises.pairs),
        "epsilon_for_all_pairs": _epsilon(study, most / rows),
        "classes": [
            {
                "target": names[t],
                "from_rows": math.ceil(needed),
                "from_share": round(needed / rows, 4),
                "rare": RARE,
                "epsilon_for_rare": _epsilon(study, needed / (RARE * rows)),
            }
            for t, needed in targets
            if needed is not None
        ],
    }


def _epsilon(study: Study, times: float) -> float | None:
    """About the epsilon at which noise is ``times`` smaller than at the study's epsilon, and never less than that.

    Computed for the continuous noise of one query, with the tables unchanged.
    """
    if times <= 1:
        return study.privacy.epsilon

    def noise(epsilon: float) -> float:
        return continuous_multiplier(replace(study, privacy=replace(study.privacy, epsilon=epsilon)))

    wanted, low, high = noise(study.privacy.epsilon) / times, study.privacy.epsilon, MAX_EPSILON
    if noise(high) > wanted:
        return None
    while high / low > 1.02:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if noise(middle) <= wanted else (middle, high)
    shown = _MARGIN * high
    unit = 10.0 ** (math.floor(math.log10(shown)) - 1)  # two digits
    return min(MAX_EPSILON, float(f"{math.ceil(shown / unit) * unit:.2g}"))


def expected_words(outlook: Mapping[str, Any]) -> list[str]:
    """``expected`` in sentences for people."""
    where = {
        "asked": "",
        "population": ", the study's population",
        "example": ", an example; pass --expect-rows for the number you expect",
    }
    carried = [p for p in outlook["pairs"] if p["carried"]]
    lines = [f"What a release will carry, with {outlook['rows']:,} rows in all{where[outlook['assumed']]}:"]
    if not outlook["pairs"]:
        return [*lines, "No pair of columns is counted: pairs are learnt in training, so nothing can be predicted."]
    lost = [p for p in outlook["pairs"] if not p["carried"]]
    lines.append(f"It will carry {len(carried)} of {len(outlook['pairs'])} pairs of columns.{_budget(outlook, lost)}")
    if lost:
        lines.append(f"It will not carry {listed([' with '.join(p['columns']) for p in lost])}: more noise than rows.")
    return [*lines, *map(_class_words, outlook["classes"])]


def _budget(outlook: Mapping[str, Any], lost: list[Any]) -> str:
    if not lost:
        return ""
    epsilon = outlook["epsilon_for_all_pairs"]
    if epsilon is None:
        return " No epsilon would carry all; fewer bins, columns or targets might."
    return f" Epsilon {epsilon:g} would carry all."


def _class_words(one: Mapping[str, Any]) -> str:
    size = f"about {one['from_rows']:,} rows ({100 * one['from_share']:.3g} % of all)"
    if one["from_share"] > 1:
        size = f"about {one['from_rows']:,} rows, more than there are"
    words = f"A class of {one['target']} will be carried in all columns if it has {size}."
    if one["from_share"] <= one["rare"]:
        return words
    epsilon = one["epsilon_for_rare"]
    rare = f"{100 * one['rare']:g} % of the rows"
    return f"{words} " + (
        f"For one of {rare} no epsilon is enough." if epsilon is None else f"For one of {rare}: epsilon {epsilon:g}."
    )


def listed(names: list[str], most: int = 6) -> str:
    """Some of them, and how many more there are."""
    shown, more = ", ".join(names[:most]), len(names) - most
    return shown if more <= 0 else f"{shown} and {more} more"
