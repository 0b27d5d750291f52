"""Columns of numbers: grids, bounds beyond any one person's value, special values, and codes that are numbers."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd

from cohortium.data.columns import Categorical, Continuous
from cohortium.data.columns.grids import holds
from cohortium.drafting.disguises import may_part_thousands
from cohortium.drafting.facts import FEW_CODES, FINEST, MOSTLY, RARE, RARE_SPECIAL, ColumnFacts
from cohortium.drafting.found import Found
from cohortium.drafting.lattices import Lattice, decades, lattice, significant, spans, within
from cohortium.drafting.placeholders import may_stand, stand_apart
from cohortium.drafting.resolution import decimals_that_tell
from cohortium.drafting.texts import categorical

MAX_DECIMALS = 6  # of numbers about one or larger
MERGED = 16  # cells in an order, of more of which generators put some together unless a study says otherwise
_TOO_LARGE = "dropped: its numbers are too large to distinguish, like an identifier's"
_ONE_SIDED = "fewer than {} {} are on either side of its middle"
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,14}")
_POINT_ZERO = re.compile(r"[-+]?[0-9]+\.0+")


def number_column(name: str, facts: ColumnFacts) -> Found:
    if facts.distinct == 1 or are_codes(facts):
        return _code_column(name, facts)
    found, (lowest, highest) = _standing_apart(facts)
    if lowest is None or highest is None or lowest >= highest:
        large = max(abs(facts.lowest), abs(facts.highest)) > 2.0**50
        return Found(None, (_TOO_LARGE if large else f"dropped: {_ONE_SIDED.format(RARE, facts.unit)}",))
    column, texts = _numbers(name, facts, found, lowest, highest)
    if column is None:
        return Found(None, texts)
    return replace(_with_points(column, facts, (*texts, *_unreadable(facts))), seen=_rare_numbers(column, facts))


def _numbers(
    name: str, facts: ColumnFacts, special: tuple[float, ...], lowest: float, highest: float
) -> tuple[Continuous | None, tuple[str, ...]]:
    """The column, with bounds between persons' numbers, and its notes."""
    nullable = facts.nullable or facts.numbers < facts.valid or facts.infinite > 0
    texts = [f"bounds are round numbers beyond what all but fewer than {RARE} {facts.unit} have"]
    if special:
        texts.append("special values seem to stand for something other than a number, judging from where they lie")
    needed, fewest = _needed(facts), facts.positives.last
    digits = significant(dict(enumerate(facts.digits)), RARE)
    zero = (0.0,) if facts.numbered.get(0.0, 0) >= RARE else ()
    if fewest is not None and lowest >= 0 and (spans(fewest, highest, digits, needed) or needed == FINEST):
        lower, upper = decades(fewest, highest)
        texts.append(f"numbers over many powers of ten: {digits} significant digits are kept")
        special = tuple(sorted({*special, *zero}))
        return Continuous(
            name=name, nullable=nullable, lower=lower, upper=upper, digits=digits, special=special
        ), tuple(texts)
    most = max(MAX_DECIMALS, MAX_DECIMALS - math.floor(math.log10(max(abs(lowest), abs(highest)))))
    kept = decimals_that_tell(facts, min(needed, most), special)
    decimals = next((d for d in range(kept, -1, -1) if _is_grid(lowest, highest, d)), None)
    if decimals is None:
        return None, (_TOO_LARGE,)
    if highest - lowest < 10.0 ** (3 - FINEST):
        return None, ("dropped: its numbers are too small to tell apart",)
    if decimals < needed:
        texts.append(f"digits beyond {decimals} decimals are rounded off")
    if may_part_thousands(facts.counts, decimals):
        texts.append('each point has three digits behind it: if it separates thousands, declare format = "1.234,5"')
    column = Continuous(name=name, lower=0, upper=1, nullable=nullable, special=special)
    shape = lattice({x: n for x, n in facts.numbered.items() if x not in special}, decimals, RARE)
    return _on_lattice(column, shape, wide_bounds(lowest, highest, decimals), decimals, facts, texts)


def _on_lattice(
    column: Continuous, shape: Lattice, bounds: tuple[float, float], decimals: int, facts: ColumnFacts, texts: list[str]
) -> tuple[Continuous, tuple[str, ...]]:
    """The column with its bounds, on the lattice that its numbers share, if any."""
    lower, upper = bounds
    if decimals == 0 and (facts.floats or _written_with_point(facts)):  # 12.0 is not written 12
        decimals, shape = 1, shape if shape.step else Lattice(1.0)
    if shape.step is None:
        return replace(column, lower=lower, upper=upper, decimals=decimals), tuple(texts)
    lower, upper = shape.bounds or within(shape, lower, upper, decimals)
    if not lower < upper:
        return replace(column, lower=bounds[0], upper=bounds[1], decimals=decimals), tuple(texts)
    if shape.name:
        texts.append(f"they look like {shape.name}")
    if shape.step != 1.0 or shape.endings:
        texts.append("all but a few lie on the steps; others are moved to the nearest")
    single = shape.endings if len(shape.endings) > 1 else ()
    return replace(column, lower=lower, upper=upper, decimals=decimals, step=shape.step, endings=single), tuple(texts)


def _rare_numbers(column: Continuous, facts: ColumnFacts) -> str:
    """Which numbers beyond the bounds often stand for something else, and few have: for the institution's own screen."""
    beyond = [x for x, n in facts.numbered.items() if n < RARE and not column.lower <= x <= column.upper]
    shown = ", ".join(f"{x:.15g}" for x in sorted(np.array(beyond)[may_stand(np.array(beyond))].tolist())[:5])
    return RARE_SPECIAL.format(RARE, facts.unit, shown) if shown else ""


def _written_with_point(facts: ColumnFacts) -> bool:
    """Whether nearly all whole numbers are written with a point."""
    return sum(n for w, n in facts.counts.items() if _POINT_ZERO.fullmatch(w)) >= MOSTLY * sum(facts.counts.values())


def _standing_apart(facts: ColumnFacts) -> tuple[tuple[float, ...], tuple[float | None, float | None]]:
    """Numbers that stand for something else, and the ends of the others."""
    low, high = facts.lows.last, None if facts.highs.last is None else -facts.highs.last
    if low is None or high is None or low > high:
        shared = sorted(x for x, n in facts.numbered.items() if n >= RARE)
        return (), ((shared[0], shared[-1]) if len(shared) > 1 else (None, None))
    candidates = np.array(list(facts.numbered), np.float64)
    may = {x: facts.numbered[x] for x in candidates[may_stand(candidates)].tolist() if facts.numbered[x] >= RARE}
    apart = stand_apart(may, low, high, RARE)
    others = [low, high, *(x for x in may if x not in apart)]
    return apart, (min(others), max(others))


def ends(facts: ColumnFacts) -> tuple[float | None, float | None]:
    """The lowest and the highest number that is not of few, but for those that stand for something else."""
    return _standing_apart(facts)[1]


def _needed(facts: ColumnFacts) -> int:
    """Decimals that all but a few need."""
    return next(d for d in range(FINEST + 1) if sum(facts.decimals[d + 1 :]) < RARE)


def _is_grid(lowest: float, highest: float, decimals: int) -> bool:
    """Whether the grid points between such bounds, with that many decimals, are distinct floating-point numbers."""
    if max(abs(lowest), abs(highest)) > 2.0**50 / 10.0**decimals:
        return False
    lower, upper = wide_bounds(lowest, highest, decimals)
    return max(-lower, upper) <= 2.0**50 / 10.0**decimals


def _code_column(name: str, facts: ColumnFacts) -> Found:
    """Whole numbers that are names; where some are rare, texts, as they can have another category beside them."""
    codes = sorted(facts.shared, key=int)
    texts = (f"codes of {RARE} {facts.unit} or more; if they have an order, make the column ordinal",)
    if not facts.rare:
        return Found(Categorical(name=name, nullable=facts.nullable, categories=tuple(map(int, codes))), texts)
    return categorical(name, facts, codes, texts)


def is_whole(facts: ColumnFacts) -> bool:
    return facts.distinct <= FEW_CODES and all(_WHOLE.fullmatch(word) for word in facts.counts)


def are_codes(facts: ColumnFacts) -> bool:
    """Few whole numbers that are not negative and below 1000, beside some that stand for something else."""
    if not is_whole(facts):
        return False
    plain = np.array([int(word) for word in facts.counts], np.float64)
    apart, _ = _standing_apart(facts)
    plain = plain[~np.isin(plain, apart)]
    return bool(plain.size) and plain.min() >= 0 and plain.max() < 1000


def wide_bounds(lowest: float, highest: float, decimals: int) -> tuple[float, float]:
    """Bounds beyond both, and on neither: multiples of a step of 1, 2 or 5 times a power of ten.

    The step is a quarter of the range, or more, and no finer than the decimals. A bound is one to two steps away, for what few
    persons have, and reveals no more than between which two multiples it lies what it bounds. Where nothing is below zero, or
    above, zero may be a bound.
    """
    raw = max((highest - lowest) / 4, 10.0**-decimals)
    power = math.floor(math.log10(raw))
    factor = next(f for f in (1, 2, 5, 10) if f * 10.0**power >= raw * (1 - 1e-9))
    step, digits = factor * 10.0**power, max(0, -power)
    lower = round((math.ceil(lowest / step - 1e-9) - 2) * step, digits)
    upper = round((math.floor(highest / step + 1e-9) + 2) * step, digits)
    lower = 0.0 if lowest >= 0 > lower else lower
    upper = 0.0 if highest <= 0 < upper else upper
    return lower + 0.0, upper + 0.0  # no negative zero


def _with_points(column: Continuous, facts: ColumnFacts, texts: tuple[str, ...]) -> Found:
    """The column with a cell for each value that many share (a zero, a cap), which is never one with its neighbours'."""
    few = facts.distinct <= FEW_CODES
    shared = _shared_numbers(facts, RARE if few else max(RARE, 0.1 * facts.valid))
    points = {x if column.digits else round(x, column.decimals) for x in shared if column.lower <= x <= column.upper}
    points = {x for x in points if column.lower <= x <= column.upper and not _has_a_cell(column, x)}
    points = {x for x in points if x not in column.special and holds(column.axis, x)}
    if not points:
        return Found(column, texts)
    text = f"points are values that many {facts.unit} share; let stand only what the public knows"
    return Found(replace(column, points=tuple(sorted(points)), bins=1 if few else None), (*texts, text))


def _shared_numbers(facts: ColumnFacts, least: float) -> set[float]:
    """The numbers that at least ``least`` persons have."""
    words = [w for w, count in facts.counts.items() if count >= least]
    numbers = pd.to_numeric(pd.Series(words, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return {float(x) for x in numbers[np.isfinite(numbers)]}


def _has_a_cell(column: Continuous, value: float) -> bool:
    """Whether it has one by itself that stays: where there are many, generators put neighbours together."""
    if len(column.cuts) - 1 > MERGED:
        return False
    index = int(column.index_of(np.array([value]))[0])
    cell = int(np.searchsorted(column.cuts, index, side="right")) - 1
    return cell + 1 < len(column.cuts) and int(column.cuts[cell + 1] - column.cuts[cell]) == 1


def _unreadable(facts: ColumnFacts) -> list[str]:
    texts = [] if facts.numbers == facts.valid else ["some cells are not numbers; they will count as missing"]
    return [*texts, *(["some numbers are infinite; they will count as missing"] if facts.infinite else [])]
