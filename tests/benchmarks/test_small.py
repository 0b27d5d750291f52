"""The benchmark of small tables: what it takes for the same value, and that it fails where independent columns would be nearer."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
small = importlib.import_module("small")


def judge(train: pd.DataFrame) -> Any:
    return small.Judge(train, train, str(train.columns[0]))


def test_codes_that_a_release_writes_as_texts_are_the_same_codes() -> None:
    """A list with a category for all others is one of texts: a column whose rare codes became one came out as wholly wrong."""
    real = pd.DataFrame({"y": [0, 1] * 50, "race": [1, 2, 3, 9] * 25, "blanks": [1.0, 2.0, np.nan, 3.0] * 25})
    released = real.assign(race=["1", "2", "3", "__OTHER__"] * 25, blanks=pd.array([1, 2, None, 3] * 25, dtype="Int64"))
    found = judge(real)
    assert found.figures(real).columns == 0
    assert found._distance(found.codes(released), (1,)) == pytest.approx(0.25)  # 9 alone
    assert found._distance(found.codes(released), (2,)) == 0


def test_texts_are_the_same_only_if_they_are_written_alike() -> None:
    real = pd.DataFrame({"y": [0, 1] * 50, "code": ["01", "a"] * 50, "flag": [True, False] * 50})
    found = judge(real)
    assert found._distance(found.codes(real.assign(code=["1", "a"] * 50)), (1,)) == pytest.approx(0.5)
    assert found._distance(found.codes(real.assign(flag=real["flag"].astype("boolean"))), (2,)) == 0


@pytest.mark.parametrize("distinct", [5, 400])
def test_a_rounded_number_is_what_a_program_made_longer(distinct: int) -> None:
    """3.200000048 in the file, as single precision has it, is the release's 3.2, also where it is a quantile."""
    values = np.round(np.arange(2000) % distinct / 10 + 0.1, 1)
    real = pd.DataFrame({"y": [0, 1] * 1000, "x": values.astype(np.float32).astype(np.float64)})
    found = judge(real)
    assert (real["x"] != values).any()
    assert found._distance(found.codes(real.assign(x=values)), (1,)) == 0
    assert found.figures(real.assign(x=values)).ks == 0
    assert found._distance(found.codes(real.assign(x=values + 0.1)), (1,)) > 0


@pytest.mark.parametrize(("pairs", "failed"), [(0.10, 0), (0.109, 0), (0.111, 1), (0.9, 1)])
def test_the_command_fails_where_independent_columns_would_be_nearer(
    pairs: float, failed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, 400)
    pd.DataFrame({"y": x, "x": x}).to_csv(tmp_path / "made.csv", index=False)

    def figures(self: Any, table: pd.DataFrame) -> Any:
        return small.Figures(pairs if "made" in table.attrs else 0.1, 0, 0.5, 0.5, 0, 1)

    def synthetic(schema: Any, train: pd.DataFrame, *_: Any) -> tuple[pd.DataFrame, float]:
        made = train.copy()
        made.attrs["made"] = True
        return made, 1.0

    monkeypatch.setattr(small.Judge, "figures", figures)
    monkeypatch.setattr(small, "synthetic", synthetic)
    words = ["--file", str(tmp_path / "made.csv"), "--target", "y", "--out", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", ["small", *words, "--editions", "2", "--seeds", "2"])
    assert small.main() == failed
    assert ("NO" in capsys.readouterr().out) == bool(failed)
