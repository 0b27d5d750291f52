"""What every source keeps; a new one inherits ``SourceContract``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cohortium.data.encoding import Codes, encode
from cohortium.data.readers import tables as files
from cohortium.data.schema import Schema
from cohortium.errors import CohortiumError
from cohortium_client.source import database
from cohortium_client.source.mapping import ColumnMapping, Mapping
from cohortium_client.source.source import Source, load_source, read_parts

SMALL = 100


def people(rows: int = 600) -> pd.DataFrame:
    """Whole numbers and truth beside missing values; two rows a person; one column that nobody asks for."""
    rng = np.random.default_rng(4)
    gap = rng.random((rows, 2)) < 0.1
    return pd.DataFrame(
        {
            "note": [f"private {i}" for i in range(rows)],
            "result": rng.choice(["negative", "positive"], rows),
            "id": np.arange(rows) // 2 + 9_007_199_254_740_993,  # beyond 2**53: a float would merge persons
            "sex": rng.choice(["f", "m"], rows),
            "age": rng.integers(-5, 120, rows),
            "ward": pd.Series(rng.choice(["a", "b", "c"], rows)).mask(gap[:, 0]).astype(object),
            "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(-10, 380, rows), "D"),
            "urgent": rng.random(rows) < 0.3,
        }
    )


def assert_same(got: Codes, expected: Codes) -> None:
    np.testing.assert_array_equal(got.values, expected.values)
    np.testing.assert_array_equal(got.persons, expected.persons)
    assert (got.sizes, got.left_out) == (expected.sizes, expected.left_out)


class SourceContract:
    """``folder`` is the institution's; ``put`` stores a table and says where."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def put(self, table: pd.DataFrame, mapping: Mapping | None = None) -> Source:
        raise NotImplementedError

    def load(self, table: pd.DataFrame, schema: Schema, mapping: Mapping | None = None) -> Codes:
        return load_source(self.put(table, mapping), self.folder, schema)

    def test_codes_are_those_of_the_table(self, schema: Schema) -> None:
        table = people()
        codes = self.load(table, schema)
        assert len(codes) == len(table)
        assert_same(codes, encode(table, schema))

    def test_reading_again_gives_the_same(self, schema: Schema) -> None:
        source = self.put(people())
        assert_same(load_source(source, self.folder, schema), load_source(source, self.folder, schema))

    def test_missing_values(self, schema: Schema) -> None:
        """One row for each column that lacks it, and one that lacks nothing."""
        table = people(9).astype({"id": "Int64", "age": "Int64", "urgent": "boolean"})
        for i, name in enumerate(["id", "sex", "age", "ward", "seen", "urgent", "result"]):
            table.loc[i, name] = None
        codes = self.load(table, schema)
        assert (len(codes), codes.left_out) == (3, 6)  # only ward may be missing
        assert codes.values[:, schema.index("ward")].tolist()[0] == 3
        assert_same(codes, encode(table, schema))

    def test_a_table_without_rows(self, schema: Schema) -> None:
        source = self.put(people().iloc[:0])
        parts = list(read_parts(source, self.folder, schema))
        assert [len(part) for part in parts] == [0]
        codes = load_source(source, self.folder, schema)
        assert (len(codes), codes.left_out, codes.sizes) == (0, 0, schema.sizes)

    def test_one_row(self, schema: Schema) -> None:
        assert_same(self.load(people(1), schema), encode(people(1), schema))

    @pytest.mark.parametrize("name", ["ward", "id"])
    def test_a_column_that_is_not_there(self, schema: Schema, name: str) -> None:
        with pytest.raises(CohortiumError) as caught:
            self.load(people().drop(columns=name), schema)
        assert caught.value.code == "E_SCHEMA_MISSING"
        assert repr(name) in str(caught.value)

    def test_columns_that_nobody_asked_for_are_left(self, schema: Schema) -> None:
        (part,) = read_parts(self.put(people()), self.folder, schema)
        assert list(part.columns) == [*schema.names, "id"]

    def test_the_table_comes_in_parts(self, schema: Schema, monkeypatch: pytest.MonkeyPatch) -> None:
        table = people(1000)
        whole = self.load(table, schema)
        monkeypatch.setattr(files, "BLOCK", 6_000)
        monkeypatch.setattr(files, "PARQUET_ROWS", SMALL)
        monkeypatch.setattr(files, "WORKBOOK_ROWS", SMALL)
        monkeypatch.setattr(database, "ROWS", SMALL)
        source = self.put(table)
        sizes = [len(part) for part in read_parts(source, self.folder, schema)]
        assert sum(sizes) == 1000
        assert len(sizes) >= 8
        assert max(sizes) <= 150
        assert_same(load_source(source, self.folder, schema), whole)

    def test_persons(self, schema: Schema) -> None:
        codes = self.load(people(600), schema)
        assert len(np.unique(codes.persons)) == 300
        np.testing.assert_array_equal(codes.persons[::2], codes.persons[1::2])

    def test_a_table_of_nobody_in_particular(self, schema: Schema) -> None:
        nobody = Schema(columns=schema.columns)
        codes = self.load(people().drop(columns="id"), nobody)
        np.testing.assert_array_equal(codes.persons, np.arange(600))

    def test_a_row_makes_the_same_of_itself_alone(self, schema: Schema) -> None:
        table, mapping = renamed(people(40)), MAPPING
        whole = self.load(table, schema, mapping)
        for i in (0, 17, 39):
            alone = self.load(table.iloc[[i]].reset_index(drop=True), schema, mapping)
            np.testing.assert_array_equal(alone.values[0], whole.values[i])
        with_one_more = self.load(table.iloc[[0, *range(40)]].reset_index(drop=True), schema, mapping)
        np.testing.assert_array_equal(with_one_more.persons[1:], whole.persons)

    def test_mapping(self, schema: Schema) -> None:
        """Names, values, units, dates and the person's column: the mapped table is the one it was made from."""
        table = people()
        assert_same(self.load(renamed(table), schema, MAPPING), encode(table, schema))


def renamed(table: pd.DataFrame) -> pd.DataFrame:
    """The table as another institution may keep it."""
    return pd.DataFrame(
        {
            "PATNR": table["id"],
            "SEX": table["sex"].map({"f": 2, "m": 1}),
            "MONTHS": table["age"] * 12,
            "ward": table["ward"].fillna("-9"),
            "seen": table["seen"].dt.strftime("%d.%m.%Y"),
            "urgent": table["urgent"].map({True: "J", False: "N"}),
            "result": table["result"].str.replace("positive", "detected"),
        }
    )


MAPPING = {
    "id": ColumnMapping(origin="PATNR"),
    "sex": ColumnMapping(origin="SEX", recode={"1": "m", "2": "f"}),
    "age": ColumnMapping(origin="MONTHS", convert="months to years"),
    "ward": ColumnMapping(recode={"-9": ""}),
    "seen": ColumnMapping(format="%d.%m.%Y"),
    "urgent": ColumnMapping(recode={"J": True, "N": False}),
    "result": ColumnMapping(recode={"negative": "negative"}, default="positive"),
}
