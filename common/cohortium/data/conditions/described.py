"""What conditions and constraints see of a schema: its columns and what it says of them together.

They are about columns, and a schema, which is built of columns and constraints, is above them.
"""

from __future__ import annotations

from typing import Protocol

from cohortium.data.columns import Column
from cohortium.data.conditions.constraints import Constraint


class Described(Protocol):
    """A table's public description."""

    @property
    def columns(self) -> tuple[Column, ...]: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def constraints(self) -> tuple[Constraint, ...]: ...

    def index(self, name: str) -> int:
        """Position of the column ``name``; raises SchemaError E_SCHEMA_MISSING."""
        ...
