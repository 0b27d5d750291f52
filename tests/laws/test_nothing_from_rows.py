"""Nothing of a study, and nothing of a release but its noised numbers, follows from rows.

A whole simulation is run twice over the same tables, with and without one person, and with the same noise (none). What
differs may only be what carries noised answers.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cohortium.cli import build
from cohortium.data.schema import schema_from_document
from cohortium.study.generators import Sweep
from cohortium.study.study import Institution, Privacy, Study, dumps_schema, dumps_study

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

PRIVATE = "Dr Smith HIV practice"
SITES = ("north", "south", "west", "closed")  # nobody is at the last one
NOISED = {"synthetic.csv", "synthetic.parquet", "answers.safetensors", "model.safetensors", "report.html"}
SCHEMA = schema_from_document(
    {
        "name": "visits",
        "column": [
            {"name": "id", "person": True},
            {"name": "site", "kind": "categorical", "categories": list(SITES), "nullable": True},
            {"name": "age", "kind": "continuous", "lower": 0, "upper": 100, "bins": 5},
            {"name": "ward", "kind": "categorical", "categories": ["a", "b"], "nullable": True},
            {"name": "seen", "kind": "datetime", "lower": "2020-01-01", "upper": "2020-12-31", "bins": 4},
            {"name": "result", "kind": "categorical", "categories": ["negative", "positive"], "target": True},
        ],
    }
)
STUDY = Study(
    name="rehearsal",
    schema=SCHEMA,
    privacy=Privacy(epsilon=2.0, delta=1e-6, trust="secure-sum"),
    generator=Sweep(components=20),
    institutions=tuple(Institution(name=n) for n in SITES),
)


def people() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    count = 600
    return pd.DataFrame(
        {
            "id": [f"p{i}" for i in range(count)],
            "site": rng.choice(SITES[:3], count),
            "clinic": rng.choice(["N1", "N2", "S"], count),
            "age": rng.integers(0, 101, count),
            "ward": rng.choice(["a", "b"], count),
            "seen": rng.choice(["2020-02-01", "2020-07-01", "2020-11-11"], count),
            "result": rng.choice(["negative", "positive"], count),
        }
    )


EXTREME = {"id": PRIVATE, "age": 1e15, "ward": PRIVATE, "seen": "0001-01-01", "result": "positive"}
SOMEWHERE = EXTREME | {"site": "north", "clinic": "N1"}
UNHEARD_OF = EXTREME | {"site": PRIVATE, "clinic": PRIVATE, "age": 50, "ward": "a", "seen": "2020-02-01"}
DECLARED: dict[str, tuple[str, ...]] = {
    "a number": ("--schema", "schema.toml", "--institutions", "3", "--epsilon", "2", "--delta", "1e-6"),
    "skewed": ("--schema", "schema.toml", "--institutions", "3", "--skew", "0.5", "--epsilon", "2", "--delta", "1e-6"),
    "categories": ("--schema", "schema.toml", "--by", "site", "--epsilon", "2", "--delta", "1e-6"),
    "institutions": (
        *("--schema", "schema.toml", "--by", "clinic", "--epsilon", "2", "--delta", "1e-6"),
        *("--institution", "north=N1,N2", "--institution", "south=S", "--institution", "empty"),
    ),
    "a study": ("--study", "study.toml", "--by", "site"),
}  # fmt: skip
BY_COLUMN = ("categories", "institutions", "a study")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where everything lies, and no noise; the institutions' keys stay from one run to the next."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "cohortium.privacy.discrete_gaussian.discrete_gaussian",
        lambda sigma, count, randomness: np.zeros(count, np.int64),
    )
    (tmp_path / "schema.toml").write_text(dumps_schema(SCHEMA))
    (tmp_path / "study.toml").write_text(dumps_study(STUDY))
    return tmp_path


def simulated(name: str, layout: str, *persons: dict[str, Any]) -> Path:
    table = pd.concat([people(), pd.DataFrame(persons)]) if persons else people()
    table.to_csv(f"{name}.csv", index=False)
    arguments = ["simulate", "--data", f"{name}.csv", "--out", name, "--seed", "1", "--json", *DECLARED[layout]]
    result = CliRunner().invoke(build(), arguments)
    assert result.exit_code == 0, result.output
    assert PRIVATE not in result.stdout
    return Path(name)


def public_part(folder: Path) -> dict[str, Any]:
    """Every file of a release as it must be, whoever's rows it is of: without run, receipts, signature, and noised numbers."""
    reported: dict[str, Any] = {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in NOISED}
    manifest = json.loads(reported["manifest.json"])
    assert set(manifest["files"]) == {*reported, *NOISED} - {"manifest.json"}
    for noised in ("files", "rows", "run", "signature"):
        del manifest[noised]
    for criterion in manifest["verdict"]:
        criterion["value"] = re.sub("[0-9.]+", "#", criterion["value"])
    manifest["carries"] = named(manifest["carries"])
    account = json.loads(reported["ledger.json"])
    del account["run"]
    for answer in (a for i in account["institutions"] for a in i["answers"]):
        del answer["receipt"]
    model = json.loads(reported["model.json"])
    del model["rows"]
    return reported | {"manifest.json": manifest, "ledger.json": account, "model.json": model}


def named(carries: dict[str, Any]) -> dict[str, Any]:
    """What is judged carried, without the judgement, which follows from noised numbers: names that the schema declares."""
    for one in carries["classes"]:
        assert set(one["lost"]) <= set(SCHEMA.names)
        one |= {"rows": "#", "carried": "#", "lost": "#"}
    for one in carries["pairs"]:
        one |= {"carried": "#", "noise": "#", "beyond": "#"}
    return carries


def words(folder: Path) -> set[str]:
    """What a report says, numbers, drawings and what follows from noised numbers left out: what the release carries."""
    text = (folder / "report.html").read_text()
    for part in (
        "<svg.*?</svg>",
        '<section aria-labelledby="carries">.*?</section>',
        '<details class="lost">.*?</details>',
    ):
        text = re.sub(part, "", text, flags=re.DOTALL)
    run = json.loads((folder / "manifest.json").read_text())["run"]
    return set(re.findall("[A-Za-z]{2,}", re.sub("<[^>]*>", " ", text.replace(run, ""))))


@pytest.mark.parametrize("layout", DECLARED)
def test_what_is_not_noised_does_not_know_whether_a_person_is_there(place: Path, layout: str) -> None:
    without, added = simulated("without", layout), simulated("with", layout, SOMEWHERE)
    assert public_part(without) == public_part(added)
    assert words(without) == words(added)
    for path in added.iterdir():
        assert PRIVATE.encode() not in path.read_bytes()


@pytest.mark.parametrize("layout", BY_COLUMN)
def test_a_value_that_nobody_declared_goes_nowhere(place: Path, layout: str) -> None:
    """Whoever has it is in no institution: even what carries noised numbers stays the same, to the last byte."""
    without, added = simulated("without", layout), simulated("with", layout, UNHEARD_OF)
    assert public_part(without) == public_part(added)
    for name in NOISED - {"report.html"}:
        assert (without / name).read_bytes() == (added / name).read_bytes()
    runs = [json.loads((f / "manifest.json").read_text())["run"] for f in (without, added)]
    reports = [(f / "report.html").read_text().replace(run, "") for f, run in zip((without, added), runs, strict=True)]
    assert reports[0] == reports[1]
    for path in [*added.iterdir(), *(place / "home").rglob("*")]:
        assert not path.is_file() or PRIVATE.encode() not in path.read_bytes()


def test_persons_are_counted_that_go_nowhere_on_the_screen_alone(place: Path) -> None:
    table = pd.concat([people(), pd.DataFrame([UNHEARD_OF, UNHEARD_OF | {"id": "other"}])])
    table.to_csv("with.csv", index=False)
    arguments = ["simulate", "--data", "with.csv", "--out", "with", "--json", *DECLARED["institutions"]]
    result = CliRunner().invoke(build(), arguments)
    assert "2 of 602 rows take part nowhere" in result.stderr and "without rows" in result.stderr
    assert "nowhere" not in result.stdout and PRIVATE not in result.stderr
    assert json.loads(result.stdout)["institutions"] == ["north", "south", "empty"]


def test_institutions_are_never_read_off_the_rows(place: Path) -> None:
    """The refusal says what to do, and none of the values; nothing was charged or written."""
    people().to_csv("without.csv", index=False)
    usual = ["simulate", "--data", "without.csv", "--out", "out", "--schema", "schema.toml"]
    result = CliRunner().invoke(build(), [*usual, "--by", "clinic", "--epsilon", "2", "--delta", "1e-6"])
    assert result.exit_code == 12
    assert result.stderr.startswith("E_PLAN_INVALID: --by clinic:") and "--institution NAME=VALUE" in result.stderr
    assert not any(value in result.stderr for value in ("N1", "N2", "north"))
    assert len(result.stderr.splitlines()) == 1
    assert not (place / "out").exists() and not (place / "home").exists()
