"""A PostgreSQL for federations, where one is installed."""

# ruff: noqa: F401 (a fixture is imported by name)

from __future__ import annotations

import pytest
from postgres import Cluster, postgresql


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Cluster | None:
    """A PostgreSQL; None where none is installed, and then all tables are files."""
    try:
        cluster: Cluster = request.getfixturevalue("postgresql")
    except pytest.skip.Exception as absent:
        print(f"without PostgreSQL: {absent}")
        return None
    return cluster
