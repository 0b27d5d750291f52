"""What every kind of source must keep: the same table gives the same codes, wherever it lies.

A new kind joins as a subclass of ``SourceContract`` that says how a table gets there.
"""

# ruff: noqa: F401, F811, S608 (fixtures are imported by name; queries are the tests' own)

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy
from postgres import OWNER, PASSWORDS, Cluster, password_file, postgresql, table_name
from source_contract import SourceContract

from cohortium.data.encoding import Codes, encode
from cohortium.data.readers import tables as files
from cohortium.data.schema import Schema
from cohortium.errors import CohortiumError
from cohortium_client.source import database
from cohortium_client.source.mapping import ColumnMapping, Mapping
from cohortium_client.source.source import Source, load_source, read_parts


class TestCsv(SourceContract):
    def put(self, table: pd.DataFrame, mapping: Mapping | None = None) -> Source:
        table.to_csv(self.folder / "table.csv", index=False)
        return Source(path="table.csv", mapping=mapping or {})


class TestSemicolonsPacked(SourceContract):
    """As a hospital exports it, packed by gzip."""

    def put(self, table: pd.DataFrame, mapping: Mapping | None = None) -> Source:
        table.to_csv(self.folder / "table.csv.gz", index=False, sep=";", lineterminator="\r\n", encoding="utf-8-sig")
        return Source(path="table.csv.gz", mapping=mapping or {})


class TestTabsPacked(SourceContract):
    """A workbook's text with its line for Excel, packed by zstd."""

    def put(self, table: pd.DataFrame, mapping: Mapping | None = None) -> Source:
        text = "sep=\t\n" + table.to_csv(index=False, sep="\t")
        with (
            pa.OSFile(str(self.folder / "table.csv.zst"), "wb") as file,
            pa.CompressedOutputStream(file, "zstd") as out,
        ):
            out.write(text.encode())
        return Source(path="table.csv.zst", mapping=mapping or {})


class TestWorkbook(SourceContract):
    """Excel keeps 15 digits of a number: longer identifiers are written as text, as they must be there."""

    def put(self, table: pd.DataFrame, mapping: Mapping | None = None) -> Source:
        whose = [name for name in ("id", "PATNR") if name in table]
        texts = {name: [None if pd.isna(v) else str(v) for v in table[name]] for name in whose}  # map goes by floats
        table.assign(**texts).to_excel(self.folder / "table.xlsx", index=False, sheet_name="visits")
        return Source(path="table.xlsx", sheet="visits", mapping=mapping or {})


class TestParquet(SourceContract):
    def put(self, table: pd.DataFrame, mapping: Mapping | None = None) -> Source:
        table.to_parquet(self.folder / "table.parquet")
        return Source(path="table.parquet", mapping=mapping or {})


class TestSqlite(SourceContract):
    def put(self, table: pd.DataFrame, mapping: Mapping | None = None) -> Source:
        with closing(sqlite3.connect(self.folder / "table.sqlite")) as connection:
            table.to_sql("visits", connection, index=False, if_exists="replace")
        return Source(url="sqlite:///table.sqlite", query="SELECT * FROM visits", mapping=mapping or {})


class TestPostgresql(SourceContract):
    @pytest.fixture(autouse=True)
    def _cluster(self, postgresql: Cluster, table_name: str) -> None:
        self.cluster, self.name = postgresql, table_name

    def put(self, table: pd.DataFrame, mapping: Mapping | None = None) -> Source:
        url = sqlalchemy.make_url(self.cluster.url(OWNER)).set(
            drivername="postgresql+psycopg", password=PASSWORDS[OWNER]
        )
        engine = sqlalchemy.create_engine(url)
        table.to_sql(self.name, engine, index=False, if_exists="replace")
        engine.dispose()
        query = f'SELECT * FROM "{self.name}"'
        return Source(
            url=self.cluster.url(), query=query, password_file=password_file(self.folder), mapping=mapping or {}
        )
