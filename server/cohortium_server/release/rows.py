"""Synthetic rows from a fitted generator, under conditions: the one way from a model to a table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.encoding import decode
from cohortium.errors import ReleaseError
from cohortium.schema import Schema
from cohortium.selection import Selection
from cohortium_server.generators import Generator

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


def drawn_table(
    generator: Generator, schema: Schema, rows: int, rng: np.random.Generator, selections: Selections = EVERYTHING
) -> pd.DataFrame:
    """Exactly so many rows of selected values. Raises as ``drawn_codes``."""
    codes = drawn_codes(generator, schema, rows, rng, selections)
    return decode(codes, schema, rng, {j: chosen.ranges for j, chosen in selections.items()})
