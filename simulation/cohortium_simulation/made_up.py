"""Made-up hospitals and banks for the demo: persons with events, drawn from rules that are all in this file. They contain no real person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.events import PERSONS
from cohortium.data.schema import Schema, load_schema
from cohortium.errors import StudyError
from cohortium.system.nearest import offered

IntArray = npt.NDArray[np.int64]
Tables = dict[str, pd.DataFrame]
DAYS = 730
REASONS = ("injury", "infection", "heart", "lung", "cancer", "check-up")
# of the next stay's reason, given that of the one before
NEXT_REASON = np.array(
    [
        [0.30, 0.10, 0.05, 0.05, 0.05, 0.45],
        [0.08, 0.35, 0.10, 0.15, 0.05, 0.27],
        [0.04, 0.08, 0.55, 0.12, 0.03, 0.18],
        [0.04, 0.16, 0.15, 0.45, 0.03, 0.17],
        [0.03, 0.15, 0.04, 0.06, 0.60, 0.12],
        [0.20, 0.20, 0.15, 0.12, 0.08, 0.25],
    ]
)
PAUSE = (90, 60, 45, 40, 21, 180)  # days until the next stay, on average
NIGHTS = (3, 5, 6, 5, 8, 1)
KINDS = ("groceries", "fuel", "restaurant", "travel", "electronics", "cash")
NEXT_KIND = np.array(
    [
        [0.50, 0.15, 0.18, 0.03, 0.06, 0.08],
        [0.40, 0.20, 0.20, 0.08, 0.04, 0.08],
        [0.40, 0.12, 0.25, 0.08, 0.05, 0.10],
        [0.20, 0.10, 0.30, 0.25, 0.05, 0.10],
        [0.40, 0.12, 0.15, 0.05, 0.20, 0.08],
        [0.40, 0.12, 0.20, 0.05, 0.05, 0.18],
    ]
)
TYPICAL = (35.0, 55.0, 28.0, 220.0, 160.0, 80.0)  # amount of each kind


@dataclass(frozen=True)
class MadeUp:
    """A demo on made-up persons. institutions: who they are split among. about: what is done with it, in a line."""

    name: str
    institutions: tuple[str, ...]
    about: str
    draw: Callable[[int, np.random.Generator], Tables]
    persons: int

    @property
    def schema(self) -> Schema:
        with as_file(files("cohortium_simulation") / "data" / f"{self.name}.toml") as path:
            return load_schema(path)

    @property
    def tables(self) -> Tables:
        """The same every time: the demo compares with them."""
        return self.draw(self.persons, np.random.default_rng(2026))


def hospital(persons: int, rng: np.random.Generator) -> Tables:
    """Patients, and their stays over two years: the reason for each depends on the one before, and older patients return sooner."""
    age = np.clip(rng.normal(56, 21, persons), 0, 99).astype(np.int64)
    sex = rng.choice(["f", "m"], persons)
    often = 1 + rng.poisson(np.where(age > 60, 2.2, 0.9))
    rows: list[tuple[int, int, str, int]] = []
    for person, stays in enumerate(often.tolist()):
        day, reason = int(rng.integers(0, DAYS)), int(rng.choice(6, p=_first_reason(int(age[person]))))
        for _ in range(stays):
            if day >= DAYS:
                break
            nights = int(min(60, rng.poisson(NIGHTS[reason] * (0.7 + age[person] / 120))))
            rows.append((person + 1, day, REASONS[reason], nights))
            day += nights + 1 + int(rng.exponential(PAUSE[reason]))
            reason = int(rng.choice(6, p=NEXT_REASON[reason]))
    stays_table = pd.DataFrame(rows, columns=["patient", "day", "reason", "nights"])
    stays_table["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(stays_table["day"], "D")
    return {PERSONS: pd.DataFrame({"patient": np.arange(1, persons + 1), "age": age, "sex": sex}), "stays": stays_table}


def _first_reason(age: int) -> npt.NDArray[np.float64]:
    young, old = np.array([0.35, 0.25, 0.02, 0.08, 0.02, 0.28]), np.array([0.10, 0.15, 0.30, 0.18, 0.15, 0.12])
    share = min(1.0, age / 80)
    return (1 - share) * young + share * old


def bank(persons: int, rng: np.random.Generator) -> Tables:
    """Customers, and their card payments over a quarter: amounts go with the customer and the kind; fraud comes in short runs."""
    income = np.exp(rng.normal(10.4, 0.5, persons)).round(-3).clip(8_000, 250_000)
    region = rng.choice(["north", "south", "west"], persons, p=[0.5, 0.3, 0.2])
    rows: list[tuple[int, int, float, str, bool]] = []
    for person in range(persons):
        payments = int(min(60, 3 + rng.poisson(14)))
        hours = np.sort(rng.integers(0, 91 * 24, payments))
        hours = hours // 24 * 24 + _hours(payments, rng)
        kind, stolen, scale = int(rng.integers(0, 6)), 0, float(np.sqrt(income[person] / 33_000))
        for hour in np.sort(hours).tolist():
            stolen = max(0, stolen - 1) if stolen else (int(rng.integers(2, 5)) if rng.random() < 0.004 else 0)
            kind = int(rng.choice([3, 4, 5])) if stolen else int(rng.choice(6, p=NEXT_KIND[kind]))
            amount = TYPICAL[kind] * scale * float(np.exp(rng.normal(0.9 if stolen else 0.0, 0.5)))
            rows.append((person + 1, hour, round(min(amount, 2_000.0), 2), KINDS[kind], bool(stolen)))
    payments_table = pd.DataFrame(rows, columns=["customer", "hour", "amount", "kind", "fraud"])
    payments_table["hour"] = pd.Timestamp("2025-01-01") + pd.to_timedelta(payments_table["hour"], "h")
    people = {"customer": np.arange(1, persons + 1), "income": income.astype(np.int64), "region": region}
    return {PERSONS: pd.DataFrame(people), "payments": payments_table}


def _hours(count: int, rng: np.random.Generator) -> IntArray:
    """Hours of the day, few of them at night."""
    weights = np.r_[np.full(7, 0.2), np.full(5, 1.5), np.full(8, 2.0), np.full(4, 0.8)]
    return rng.choice(24, count, p=weights / weights.sum())


DEMOS = {
    "hospital": MadeUp(
        "hospital",
        ("city", "county", "university", "coast", "hills"),
        "Five made-up hospitals, patients and their stays over two years: one release of two linked tables.",
        hospital,
        8_000,
    ),
    "bank": MadeUp(
        "bank",
        ("first", "second", "third", "savings", "online"),
        "Five made-up banks, customers and their card payments over a quarter: one release of two linked tables.",
        bank,
        5_000,
    ),
}


def demo_named(name: str) -> MadeUp:
    """StudyError E_PLAN_INVALID for a name that no demo has."""
    if name not in DEMOS:
        what, fix = f"there is no demo {name!r}", offered(name, ["clinics", *DEMOS], "There are")
        raise StudyError("E_PLAN_INVALID", "--data", what, fix)
    return DEMOS[name]
