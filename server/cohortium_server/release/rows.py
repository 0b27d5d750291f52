"""Synthetic rows from a fitted generator, under conditions: the one way from a model to a table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.conditions.selection import Selection
from cohortium.data.encoding import draw_indices, table_at
from cohortium.data.schema import Schema
from cohortium.errors import ReleaseError
from cohortium_server.generators import Generator
from cohortium_server.release.constrained_sampling import constrained_indices

Selections = Mapping[int, Selection]
EVERYTHING: Selections = MappingProxyType({})


def drawn_codes(
    generator: Generator, schema: Schema, rows: int, rng: np.random.Generator, selections: Selections = EVERYTHING
) -> npt.NDArray[np.int16]:
    """(rows, columns) codes, exactly so many; of conditioned columns only cells that have selected values.

    Raises ReleaseError E_CONDITION where the model has no such rows.
    """
    if not rows:
        return np.empty((0, len(schema.columns)), np.int16)
    allowed = {j: chosen.weights(schema.columns[j]) for j, chosen in selections.items()}
    codes = generator.sample(rows, rng, allowed)
    for j, weights in allowed.items():
        if not weights[codes[:, j]].all():
            raise ReleaseError(
                "E_CONDITION", f"condition on {schema.names[j]!r}", "the model has no such rows", "Widen the condition."
            )
    return codes


def drawn_indices(
    generator: Generator, schema: Schema, rows: int, rng: np.random.Generator, selections: Selections = EVERYTHING
) -> npt.NDArray[np.int64]:
    """(rows, columns) grid indices of exactly so many rows of selected values, which keep the schema's constraints.

    Raises as ``drawn_codes``, and where the constraints leave no such rows.
    """
    if schema.constraints and rows:
        draw = partial(drawn_codes, generator, schema, rng=rng, selections=selections)
        return constrained_indices(generator, schema, rows, rng, draw, selections)
    codes = drawn_codes(generator, schema, rows, rng, selections)
    return draw_indices(codes, schema, rng, {j: chosen.ranges for j, chosen in selections.items()})


def drawn_table(
    generator: Generator, schema: Schema, rows: int, rng: np.random.Generator, selections: Selections = EVERYTHING
) -> pd.DataFrame:
    """The same as a table."""
    return table_at(drawn_indices(generator, schema, rows, rng, selections), schema)
