"""Card payments of five banks: whether a model of fraud that has seen synthetic customers alone knows real ones.

    cards   3,953 customers to train, their payments over 60 days: hour, amount, kind, distances, whether the terminal was new, fraud

The table is made up by a simulator of the Fraud Detection Handbook's family; customers are with one of five banks each. Whether a customer
has been at a terminal before is a column of the payment, made from that customer's own rows alone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from history_sets import Judge, Measure, Tables, tvd
from sets import FOLDER
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score

from cohortium.data.events import PERSONS
from cohortium.data.schema import schema_from_document

CARDS = """
name = "customers"
[[column]]
name = "customer"
person = true
[[column]]
name = "bank"
kind = "categorical"
categories = ["capital", "coast", "north", "online", "south"]
[[table]]
name = "payments"
most = 300
[[table.column]]
name = "customer"
person = true
[[table.column]]
name = "hour"
time = true
kind = "datetime"
lower = 2025-01-01T00:00:00
upper = 2025-03-01T23:00:00
resolution = "hour"
[[table.column]]
name = "new_terminal"
kind = "boolean"
[[table.column]]
name = "kind"
kind = "categorical"
categories = ["CNP", "CP"]
[[table.column]]
name = "terminal_km"
kind = "continuous"
lower = 0.0
upper = 5000.0
decimals = 1
[[table.column]]
name = "shipping_km"
kind = "continuous"
lower = 0.0
upper = 5000.0
decimals = 1
[[table.column]]
name = "amount"
kind = "continuous"
lower = 0.0
upper = 2000.0
decimals = 2
[[table.column]]
name = "fraud"
kind = "boolean"
"""
DAY, WEEK = 24, 7 * 24  # hours


class Cards(Judge):
    name = "cards"
    schema = schema_from_document(tomllib.loads(CARDS))
    epsilon = 3.0
    measures: ClassVar[Mapping[str, Measure]] = {
        "fraud AP, of real": Measure(0.70, larger_is_better=True),
        "fraud share, off by": Measure(0.10),
        "hours": Measure(0.03),
        "weekdays": Measure(0.03),
        "amounts": Measure(),
        "length": Measure(),
    }
    AMOUNTS = np.array([5, 10, 20, 30, 40, 50, 65, 80, 100, 130, 180, 220, 300, 500])

    def __init__(self) -> None:
        folder = FOLDER / "card_transactions"
        customers = pd.read_csv(folder / "customers.csv").rename(columns={"customer_id": "customer"})[
            ["customer", "bank"]
        ]
        rows = pd.read_parquet(folder / "transactions.parquet").rename(
            columns={"customer_id": "customer", "type": "kind"}
        )
        rows = rows.sort_values(["customer", "booked_at"], kind="stable")
        rows["new_terminal"] = ~rows.duplicated(["customer", "terminal_id"])
        rows["hour"], rows["fraud"] = pd.to_datetime(rows["booked_at"]).dt.floor("h"), rows["fraud"] == 1
        rows = rows[["customer", "hour", "new_terminal", "kind", "terminal_km", "shipping_km", "amount", "fraud"]]
        trained = customers["customer"][np.random.default_rng(0).random(len(customers)) >= 0.2]
        parts = [(customers["customer"].isin(trained), rows["customer"].isin(trained))]
        parts += [tuple(~kept for kept in parts[0])]
        self.train, self.test = ({PERSONS: customers[p], "payments": rows[e]} for p, e in parts)

    @property
    def homes(self) -> npt.NDArray[np.int64]:
        """The bank of each customer who trains, in the order of their identifiers."""
        return pd.factorize(self.train[PERSONS].sort_values("customer")["bank"], sort=True)[0].astype(np.int64)

    @cached_property
    def tested(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        return features(self.test)

    @cached_property
    def ceiling(self) -> float:
        """What a model knows that has seen the real customers who train."""
        return self._precision(self.train)

    def figures(self, made: Tables) -> dict[str, float]:
        real, other = self.train["payments"], made["payments"]
        cells = [np.searchsorted(self.AMOUNTS, t["amount"].to_numpy(), side="right") for t in (real, other)]
        lengths = [t["payments"].groupby("customer").size().to_numpy() // 20 for t in (self.train, made)]
        return {
            "fraud AP, of real": self._precision(made) / self.ceiling,
            "fraud share, off by": abs(float(other["fraud"].mean() / real["fraud"].mean()) - 1),
            "hours": tvd(*(t["hour"].dt.hour.to_numpy() for t in (real, other))),
            "weekdays": tvd(*(t["hour"].dt.weekday.to_numpy() for t in (real, other))),
            "amounts": tvd(*cells),
            "length": tvd(*lengths),
        }

    def _precision(self, tables: Tables) -> float:
        known, fraud = features(tables)
        if fraud.all() or not fraud.any():
            return float(self.tested[1].mean())
        trees = HistGradientBoostingClassifier(max_iter=120, random_state=0).fit(known, fraud)
        return float(average_precision_score(self.tested[1], trees.predict_proba(self.tested[0])[:, 1]))

    def independent(self) -> Tables:
        rng, rows = np.random.default_rng(0), self.train["payments"]
        others = [c for c in rows.columns if c != "customer"]
        return {
            **self.train,
            "payments": rows.assign(**{c: rows[c].to_numpy()[rng.permutation(len(rows))] for c in others}),
        }


def features(tables: Tables) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Of each payment what a bank knows of its customer then, and whether it was fraud."""
    rows = tables["payments"].sort_values(["customer", "hour"], kind="stable")
    hours = ((rows["hour"] - pd.Timestamp("2025-01-01")) // pd.Timedelta("1h")).to_numpy()
    whose, _ = pd.factorize(rows["customer"])
    number, amount = rows.groupby(whose).cumcount().to_numpy(), rows["amount"].to_numpy()
    before = rows.groupby(whose)["amount"].cumsum().to_numpy() - amount
    mean = np.where(number > 0, before / np.maximum(number, 1), np.nan)
    line = whose * 10**6 + hours  # of all customers, far apart
    recent = [np.arange(len(line)) - np.searchsorted(line, line - back, side="left") for back in (DAY, WEEK)]
    gap = np.where(number > 0, np.diff(hours, prepend=0), np.nan)
    columns = [amount, amount / (mean + 1), mean, number, gap, *recent, hours % DAY, rows["hour"].dt.weekday]
    columns += [rows[c].to_numpy(np.float64) for c in ("new_terminal", "terminal_km", "shipping_km")]
    known = np.column_stack([*columns, (rows["kind"] == "CP").to_numpy()]).astype(np.float64)
    return known, rows["fraud"].to_numpy(bool)
