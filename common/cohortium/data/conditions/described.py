"""The part of a schema that conditions and constraints see: its columns and its constraints.

A schema is built of columns and constraints, so they cannot import it; this protocol stands in for it.
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
