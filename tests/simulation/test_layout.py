"""How institutions are declared, and how a study file stands to the other options."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from console import call_json
from visits import NAMES, people

from cohortium.data.schema import Schema
from cohortium.errors import StudyError
from cohortium.study.study import Study, dumps_schema, dumps_study, load_study
from cohortium_simulation.layout import laid_out, read_declared

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is


def test_institutions_as_they_are_written() -> None:
    said = ["north=a, b", "south", 'west="c, d",e=f', " north = g "]
    assert read_declared(said) == {"north": ("a", "b", "g"), "south": ("south",), "west": ("c, d", "e=f")}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "'' cannot be an institution's name"),
        ("=a", "'' cannot be an institution's name"),
        ("Zürich", "Zurich=Zürich"),
        ("Zürich=8001", "Zurich=8001"),
        ("north=", "a value is empty"),
        ("north=a,,b", "a value is empty"),
        ("n" * 81, "cannot be an institution's name"),
    ],
)
def test_what_cannot_be_an_institution(text: str, what: str) -> None:
    with pytest.raises(StudyError, match=what) as caught:
        read_declared([text])
    assert caught.value.code == "E_PLAN_INVALID"


def test_what_is_said_goes_before_the_schemas_categories(schema: Schema) -> None:
    assert dict(laid_out(schema, by="ward").institutions) == {"a": ("a",), "b": ("b",), "c": ("c",)}  # type: ignore[call-overload]
    assert laid_out(schema, by="ward", declared=["x=a,c"]).names == ("x",)
    assert laid_out(schema, 3).names == ("institution-01", "institution-02", "institution-03")
    assert laid_out(schema, study=NAMES).names == NAMES
    assert laid_out(schema, by="city", study=NAMES, declared=["north=Oslo"]).institutions == {
        "north": ("Oslo",), "south": ("south",), "west": ("west",),
    }  # fmt: skip


def test_nothing_is_read_but_the_schemas_columns_and_the_one_to_split_by(schema: Schema) -> None:
    assert laid_out(schema, 2).columns(schema) == [*schema.names, "id"]
    assert laid_out(schema, by="city", declared=["x"]).columns(schema) == [*schema.names, "id", "city"]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({}, "E_PLAN_INVALID"),
        ({"number": 2, "by": "ward"}, "E_PLAN_INVALID"),
        ({"by": "age"}, "E_PLAN_INVALID"),  # numbers: their cells are no institutions
        ({"by": "id"}, "E_PLAN_INVALID"),
        ({"by": "city"}, "E_PLAN_INVALID"),
        ({"number": 2, "declared": ["north"]}, "E_PLAN_INVALID"),
        ({"by": "ward", "skew": 0.5}, "E_PLAN_INVALID"),
        ({"number": 2, "study": NAMES}, "E_PLAN_INVALID"),
        ({"by": "ward", "study": NAMES, "declared": ["east=a"]}, "E_NOT_IN_STUDY"),
    ],
)
def test_layouts_that_say_too_little_or_too_much(schema: Schema, how: dict[str, object], code: str) -> None:
    with pytest.raises(StudyError) as caught:
        laid_out(schema, **how)  # type: ignore[arg-type]
    assert caught.value.code == code


@pytest.fixture
def written(study: Study, tmp_path: Path) -> Path:
    """A study file, its schema, and a table with a column that names the study's institutions."""
    (tmp_path / "study.toml").write_text(dumps_study(study))
    (tmp_path / "schema.toml").write_text(dumps_schema(study.schema))
    table = people(900, 0)
    table.assign(site=[NAMES[i // 2 % 3] for i in range(900)]).to_csv(tmp_path / "visits.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("more", [(), ("--by", "site")])
def test_a_study_file_says_all_that_a_study_says(written: Path, study: Study, more: tuple[str, ...]) -> None:
    out = written / "release"
    usual = ("simulate", "--data", written / "visits.csv", "--study", written / "study.toml", "--out", out)
    assert call_json(*usual, *more)["institutions"] == list(NAMES)
    made = load_study(out / "study.toml")
    assert (made.name, made.privacy, made.generator) == (study.name, study.privacy, study.generator)


@pytest.mark.parametrize(
    "more",
    [("--epsilon", 1), ("--delta", 1e-6), ("--schema", "schema.toml"), ("--institutions", 3), ("--generator", "sweep"),
     ("--rows", 10), ("--no-privacy",), ("--trust", "local"), ("--rows-per-person", 1), ("--target", "sex")],
    ids=lambda more: more[0],
)  # fmt: skip
def test_what_a_study_file_says_is_not_said_again(written: Path, more: tuple[object, ...]) -> None:
    usual = ("simulate", "--data", written / "visits.csv", "--study", written / "study.toml", "--out", written / "out")
    error = call_json(*usual, *more, code=12)["error"]
    assert isinstance(error, dict)
    assert (error["code"], error["where"]) == ("E_PLAN_INVALID", "--study")
    assert str(more[0]) in error["what"]
    assert not (written / "out").exists()


def test_a_table_has_to_be_described(written: Path) -> None:
    usual = ("simulate", "--data", written / "visits.csv", "--institutions", 2, "--epsilon", 1, "--delta", 1e-6)
    error = call_json(*usual, "--out", written / "out", code=12)["error"]
    assert isinstance(error, dict)
    assert "--schema" in error["fix"]


def readme_examples() -> list[list[str]]:
    """The lines of the README that split a table by a column, as a shell would read them."""
    text = (Path(__file__).parents[2] / "README.md").read_text().replace("\\\n", " ")
    found = [line for line in text.splitlines() if line.startswith("cohortium simulate") and "--by" in line]
    return [shlex.split(line, comments=True)[1:] for line in found]


def test_the_readme_shows_both_ways() -> None:
    assert [("--institution" in words, "--study" in words) for words in readme_examples()] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize("words", readme_examples(), ids=["declared", "a study"])
def test_the_examples_of_the_readme_work(
    words: list[str], study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are written, but for the number of rounds."""
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(dumps_study(study))
    Path("schema.toml").write_text(dumps_schema(study.schema))
    sites = ["N1", "N2", "S1", "W1", *NAMES]
    people(4000, 0).assign(hospital=[sites[i // 2 % 7] for i in range(4000)]).to_csv("DATA.csv", index=False)
    document = call_json(*words, *(("--rounds", 2) if "autoregressive" in words else ()))
    assert document["institutions"] == list(NAMES)
