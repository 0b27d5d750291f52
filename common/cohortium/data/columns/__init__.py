"""What one column may hold: its kind, its grid and cells, and how its values are read, written and drawn.

Here live the kinds of columns, and everything that needs a single column.
It may import ``errors`` and ``system``. Nothing here depends on a table or a schema.
"""

from typing import Annotated

from pydantic import Field

from cohortium.data.columns.base import MAX_CELLS, STRICT, BaseColumn, check_missing
from cohortium.data.columns.discrete import FALSE_WORDS, TRUE_WORDS, Boolean, Categorical, Ordinal
from cohortium.data.columns.numeric import FINE_CELLS, MAX_DECIMALS, Continuous, fine_cuts
from cohortium.data.columns.temporal import FINE_MOMENTS, SECONDS, Datetime, Resolution

Column = Annotated[Categorical | Ordinal | Boolean | Continuous | Datetime, Field(discriminator="kind")]

__all__ = [
    "FALSE_WORDS", "FINE_CELLS", "FINE_MOMENTS", "MAX_CELLS", "MAX_DECIMALS", "SECONDS", "STRICT", "TRUE_WORDS",
    "BaseColumn", "Boolean", "Categorical", "Column", "Continuous", "Datetime", "Ordinal", "Resolution",
    "check_missing", "fine_cuts",
]  # fmt: skip
