"""A question's part about one column: weights of its cells, the mean value in each, and the uncertainty of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cohortium.data.columns import Column, Continuous, Ordinal
from cohortium.data.columns.absent import as_declared
from cohortium.data.columns.dequantization import Pieces, pieces_within
from cohortium.data.columns.grids import Even
from cohortium.data.columns.values import numbers_of
from cohortium.data.conditions.selection import Selection, everything
from cohortium.errors import ReleaseError
from cohortium_server.release.answers.products import FloatArray

_POINTS = (np.arange(16) + 0.5) / 16  # of a piece, evenly on the column's scale


@dataclass(frozen=True)
class Values:
    """(cells,) the mean of the selected values in each cell, and half the width of their range."""

    mean: FloatArray
    reach: FloatArray


def numbers(column: Column, selection: Selection) -> Values:
    """The values of a numeric column; ReleaseError E_ANSWER for another."""
    match column:
        case Continuous():
            return _of_bins(column, selection)
        case Ordinal() if isinstance(column.categories[0], int):
            mean = np.array(column.categories, np.float64)
            return _with_missing(column, mean, np.zeros(len(mean)))
    raise ReleaseError(
        "E_ANSWER", f"column {column.name!r}", "it does not hold numbers", 'Ask for kind="share" under a condition.'
    )


def has_numbers(column: Column) -> bool:
    return isinstance(column, Continuous) or (isinstance(column, Ordinal) and isinstance(column.categories[0], int))


def all_numbers(column: Column) -> FloatArray:
    return numbers(column, everything(column)).mean


def own_mean(column: Column, values: pd.Series, selection: Selection) -> float | None:
    """The mean of those of a table's ``values`` of the column that are selected; None where there are none."""
    known = numbers_of(as_declared(column, values))
    known = known[~np.isnan(known)]
    match column:
        case Continuous():
            index = column.index_of(known).astype(np.float64)
        case _:
            index = np.searchsorted(all_numbers(column)[: column.values], known).astype(np.float64)
    chosen = np.zeros(len(known), bool)
    for first, last in selection.ranges:
        chosen |= (index >= first) & (index <= last)
    return float(known[chosen].mean()) if chosen.any() else None


def _of_bins(column: Continuous, selection: Selection) -> Values:
    bins = len(column.cuts) - 1
    pieces = pieces_within(column, selection.ranges)
    low, high = column.numbers_at(pieces.first), column.numbers_at(pieces.last)
    mass = np.bincount(pieces.bins, pieces.mass, bins)
    sums = np.bincount(pieces.bins, pieces.mass * _mean_between(column, pieces), bins)
    mean = sums / np.where(mass > 0, mass, 1)
    lowest, highest = np.full(bins, np.inf), np.full(bins, -np.inf)
    np.minimum.at(lowest, pieces.bins, low)
    np.maximum.at(highest, pieces.bins, high)
    reach = np.where(mass > 0, (highest - lowest) / 2, 0)
    points = column.numbers_at(column.point_indices)
    return _with_missing(column, np.append(mean, points), np.append(reach, np.zeros(len(points))))


def _mean_between(column: Continuous, pieces: Pieces) -> FloatArray:
    """The mean of values spread evenly on the column's scale."""
    low, high = column.numbers_at(pieces.first), column.numbers_at(pieces.last)
    if column.scale == "linear" and isinstance(column.axis, Even):
        return (low + high) / 2
    if column.scale == "linear":  # evenly over the values, which are not
        inner = pieces.first[:, None] + np.rint(_POINTS * (pieces.last - pieces.first)[:, None]).astype(np.int64)
        return np.asarray(column.numbers_at(inner.ravel()).reshape(inner.shape).mean(1), np.float64)
    first, last = column.warp(low), column.warp(high)
    mean: FloatArray = column.unwarp(first[:, None] + _POINTS * (last - first)[:, None]).mean(1)
    return mean


def _with_missing(column: Column, mean: FloatArray, reach: FloatArray) -> Values:
    return Values(np.append(mean, 0.0), np.append(reach, 0.0)) if column.nullable else Values(mean, reach)
