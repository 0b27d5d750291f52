"""Persons with events: real tables with their public schemas, a split by person, and what synthetic ones are judged by.

    cdnow   18,856 customers to train, their purchases over 18 months: day, amount, quantity
    nafld   14,037 inhabitants to train (age, sex), the first time each of ten diagnoses was made, of those who had any

Four fifths of the persons are trained on, the others test. Schemas are what somebody who knows the field declares; the cells of the
judges are none of a generator's. A judge compares synthetic events with the real ones that were trained on, and tests
on the other persons what a model learns from synthetic events.
"""

from __future__ import annotations

import tomllib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from sets import FOLDER
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score

from cohortium.data.events import PERSONS
from cohortium.data.schema import Schema, schema_from_document

Tables = dict[str, pd.DataFrame]
Features = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # and what is predicted from them
IntArray = npt.NDArray[np.int64]


CDNOW = """
name = "cdnow"
[[column]]
name = "customer"
person = true
[[table]]
name = "purchases"
most = 60
[[table.column]]
name = "customer"
person = true
[[table.column]]
name = "day"
time = true
kind = "datetime"
lower = 1997-01-01T00:00:00
upper = 1998-06-30T00:00:00
resolution = "day"
[[table.column]]
name = "amount"
kind = "continuous"
lower = 0.0
upper = 1500.0
decimals = 2
[[table.column]]
name = "quantity"
kind = "continuous"
lower = 1.0
upper = 99.0
decimals = 0
"""
NAFLD = """
name = "inhabitants"
[[column]]
name = "id"
person = true
[[column]]
name = "age"
kind = "continuous"
lower = 18.0
upper = 98.0
decimals = 0
[[column]]
name = "male"
kind = "categorical"
categories = ["0", "1"]
[[table]]
name = "diagnoses"
most = 10
[[table.column]]
name = "id"
person = true
[[table.column]]
name = "days"
time = true
kind = "continuous"
lower = -18250.0
upper = 7300.0
decimals = 0
[[table.column]]
name = "event"
kind = "categorical"
categories = ["MI", "afib", "ang/isc", "cardiac arrest", "diabetes", "dyslipidemia", "heart failure", "htn", "nafld", "stroke"]
[[table.rule]]
kind = "once"
column = "event"
"""


@dataclass(frozen=True)
class Measure:
    """A figure. wanted: what it is to reach, if anything."""

    wanted: float | None = None
    larger_is_better: bool = False

    def reached(self, value: float) -> bool | None:
        if self.wanted is None:
            return None
        return value >= self.wanted if self.larger_is_better else value <= self.wanted


class Judge(ABC):
    """Real persons and their events, and how synthetic ones are held against them."""

    name: str
    schema: Schema
    measures: ClassVar[Mapping[str, Measure]]
    train: Tables
    test: Tables
    epsilon: ClassVar[float] = 1.0

    @property
    def homes(self) -> IntArray:
        """The institution of each person who trains, in the order of their identifiers; none where any may be."""
        return np.empty(0, np.int64)

    @abstractmethod
    def figures(self, made: Tables) -> dict[str, float]:
        """Distances from the real events that were trained on, and what a model trained on ``made`` knows of those that test."""
        ...

    @abstractmethod
    def independent(self) -> Tables:
        """Real events that know nothing of each other: every person has as many, and the real columns are shuffled over all."""
        ...

    @property
    def events(self) -> str:
        return self.schema.tables[0].name


def tvd(one: IntArray, other: IntArray) -> float:
    """Of the shares of whole numbers from 0."""
    many = int(max(one.max(initial=0), other.max(initial=0))) + 1
    shares = [np.bincount(x, minlength=many) / max(1, len(x)) for x in (one, other)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


class Cdnow(Judge):
    name = "cdnow"
    schema = schema_from_document(tomllib.loads(CDNOW))
    measures: ClassVar[Mapping[str, Measure]] = {
        "gap": Measure(0.05),
        "transition": Measure(0.06),
        "trigram": Measure(0.07),
        "calendar": Measure(0.06),
        "next 60 days AUC": Measure(0.75, larger_is_better=True),
        "next amount R2": Measure(0.22, larger_is_better=True),
        "length": Measure(),
    }
    GAPS = np.array([0, 1, 3, 7, 14, 30, 60, 120, 240])
    AMOUNTS = np.array([0.01, 7, 11, 13, 16, 20, 26, 34, 45, 65, 100, 200])
    START, DAYS, SOON = pd.Timestamp("1997-01-01"), 546, 60

    def __init__(self) -> None:
        rows = pd.read_csv(FOLDER / "cdnow_transactions" / "cdnow_transactions.csv.gz")
        rows["day"] = pd.to_datetime(rows["date"].astype(str))
        rows = rows.rename(columns={"customer_id": "customer"})[["customer", "day", "amount", "quantity"]]
        persons = rows["customer"].unique()
        tested = np.random.default_rng(0).choice(persons, len(persons) // 5, replace=False)
        trained = ~rows["customer"].isin(tested)
        self.train, self.test = ({"purchases": rows[part].reset_index(drop=True)} for part in (trained, ~trained))

    def figures(self, made: Tables) -> dict[str, float]:
        one, other = self.real, self.steps(made)
        reported = {
            name: tvd(one[name], other[name]) for name in ("length", "gap", "transition", "trigram", "calendar")
        }
        soon, amount = self._features(other["rows"])
        test_soon, test_amount = self.tested
        regressor = HistGradientBoostingRegressor(max_iter=80, random_state=0).fit(*amount)
        auc = area(soon, test_soon, 120)
        return {
            **reported,
            "next 60 days AUC": auc,
            "next amount R2": r2_score(test_amount[1], regressor.predict(test_amount[0])),
        }

    def independent(self) -> Tables:
        rng, rows = np.random.default_rng(0), self.train["purchases"]
        shuffled = {c: rows[c].to_numpy()[rng.permutation(len(rows))] for c in ("day", "amount", "quantity")}
        return {"purchases": rows.assign(**shuffled)}

    @cached_property
    def real(self) -> dict[str, Any]:
        return self.steps(self.train)

    @cached_property
    def tested(self) -> tuple[Features, Features]:
        return self._features(self.steps(self.test)["rows"])

    def steps(self, tables: Tables) -> dict[str, Any]:
        """Cells of what is compared, by name, and the rows in order."""
        rows = ordered(tables["purchases"].assign(day=(tables["purchases"]["day"] - self.START).dt.days), "customer")
        cell = np.searchsorted(self.AMOUNTS, rows["amount"].to_numpy(), side="right")
        follows, third = rows["number"].to_numpy() > 0, rows["number"].to_numpy() > 1
        coarse, many = np.minimum(cell // 3, 4), len(self.AMOUNTS) + 1
        gaps = np.diff(rows["day"].to_numpy(), prepend=0)[follows]
        at, after = np.flatnonzero(third), np.flatnonzero(follows)
        return {
            "rows": rows,
            "length": np.minimum(rows["length"].to_numpy()[~follows], 60),
            "gap": np.searchsorted(self.GAPS, gaps, side="left"),
            "transition": cell[after - 1] * many + cell[after],
            "trigram": (coarse[at - 2] * 5 + coarse[at - 1]) * 5 + coarse[at],
            "calendar": rows["day"].to_numpy() // 14,
        }

    def _features(self, rows: pd.DataFrame) -> tuple[Features, Features]:
        """Of each purchase what was known: for whether another follows soon, and for the next amount."""
        grouped, step = rows.groupby("customer", sort=False), rows["number"] + 1
        gap = grouped["day"].diff()
        age = rows["day"] - grouped["day"].transform("first")
        columns = [step, gap, gap.groupby(rows["customer"], sort=False).shift(1), rows["amount"], rows["quantity"]]
        columns += [grouped["amount"].cumsum() / step, age, step / (age + 30)]
        known = np.column_stack([c.to_numpy(np.float64) for c in columns])
        then, amount = grouped["day"].shift(-1) - rows["day"], grouped["amount"].shift(-1)
        seen, last = (rows["day"] <= self.DAYS - self.SOON - 1).to_numpy(), amount.isna().to_numpy()
        return (
            (known[seen], (then <= self.SOON).to_numpy(np.float64)[seen]),
            (known[~last], np.log1p(amount.to_numpy(np.float64)[~last])),
        )


class Nafld(Judge):
    name = "nafld"
    schema = schema_from_document(tomllib.loads(NAFLD))
    measures: ClassVar[Mapping[str, Measure]] = {
        "transition": Measure(0.10),
        "worst co-occurrence": Measure(0.05),
        "heart failure AUC": Measure(0.885, larger_is_better=True),
        "kind": Measure(),
        "gap": Measure(),
        "repeated": Measure(),
        "length": Measure(),
    }
    GAPS = np.array([0, 30, 180, 365, 730, 1460, 2900])
    OUTCOME = "heart failure"

    def __init__(self) -> None:
        persons = pd.read_csv(FOLDER / "nafld" / "persons.csv")[["id", "age", "male"]]
        persons["male"] = persons["male"].astype(str)
        events = pd.read_csv(FOLDER / "nafld" / "diagnoses.csv").drop_duplicates(["id", "event"])
        trained = persons["id"][np.random.default_rng(0).random(len(persons)) >= 0.2]
        parts = [(persons["id"].isin(trained), events["id"].isin(trained))]
        parts += [tuple(~kept for kept in parts[0])]
        self.train, self.test = ({PERSONS: persons[p], "diagnoses": events[e]} for p, e in parts)

    @cached_property
    def kinds(self) -> list[str]:
        return sorted(self.train["diagnoses"]["event"].unique())

    @cached_property
    def real(self) -> dict[str, Any]:
        return self.steps(self.train)

    def figures(self, made: Tables) -> dict[str, float]:
        one, other = self.real, self.steps(made)
        reported = {name: tvd(one[name], other[name]) for name in ("length", "kind", "transition", "gap")}
        together = [flags.T @ flags / len(flags) for flags in (one["flags"], other["flags"])]
        tested = self.steps(self.test)
        return {
            **reported,
            "worst co-occurrence": float(np.abs(together[0] - together[1]).max()),
            "heart failure AUC": area(self._outcome(made, other), self._outcome(self.test, tested), 80),
            "repeated": float(other["repeated"]),
        }

    def independent(self) -> Tables:
        rng, rows = np.random.default_rng(0), self.train["diagnoses"]
        rows = rows.assign(event=rows["event"].to_numpy()[rng.permutation(len(rows))])
        return {**self.train, "diagnoses": rows.drop_duplicates(["id", "event"])}

    def steps(self, tables: Tables) -> dict[str, Any]:
        rows, many = tables["diagnoses"], len(self.kinds)
        rows = ordered(rows.assign(cell=rows["event"].map({k: i for i, k in enumerate(self.kinds)})), "id", "cell")
        cell, after = rows["cell"].to_numpy(), np.flatnonzero(rows["number"].to_numpy() > 0)
        lengths = tables[PERSONS]["id"].map(rows.groupby("id").size()).fillna(0).to_numpy(np.int64)
        flags = pd.crosstab(rows["id"], rows["cell"]).reindex(index=tables[PERSONS]["id"], columns=range(many))
        return {
            "length": np.minimum(lengths, 10),
            "kind": cell,
            "transition": cell[after - 1] * many + cell[after],
            "gap": np.searchsorted(self.GAPS, np.diff(rows["days"].to_numpy(), prepend=0)[after], side="left"),
            "flags": flags.fillna(0).clip(upper=1).to_numpy(np.float64),
            "repeated": rows.duplicated(["id", "cell"]).mean(),
        }

    def _outcome(self, tables: Tables, steps: dict[str, Any]) -> Features:
        at, persons = self.kinds.index(self.OUTCOME), tables[PERSONS]
        known = [persons["age"].to_numpy(np.float64), persons["male"].to_numpy(np.float64)]
        return np.column_stack([*known, np.delete(steps["flags"], at, 1)]), steps["flags"][:, at]


def ordered(rows: pd.DataFrame, person: str, *also: str) -> pd.DataFrame:
    """Each person's rows by time, with how many came before and how many there are."""
    time = "day" if "day" in rows else "days"
    rows = rows.sort_values([person, time, *also], kind="stable").reset_index(drop=True)
    grouped = rows.groupby(person, sort=False)
    return rows.assign(number=grouped.cumcount(), length=grouped[person].transform("size"))


def area(learnt: Features, test: Features, rounds: int) -> float:
    """The area under the curve of boosted trees; a half where there is nothing to learn."""
    if learnt[1].min() == learnt[1].max():
        return 0.5
    trees = HistGradientBoostingClassifier(max_iter=rounds, random_state=0).fit(*learnt)
    return float(roc_auc_score(test[1], trees.predict_proba(test[0])[:, 1]))


JUDGES: dict[str, type[Judge]] = {"cdnow": Cdnow, "nafld": Nafld}
