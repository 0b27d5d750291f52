"""``Release.evaluate`` and ``cohortium evaluate``: what is shown stays with the real rows, and the release stays as it is."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner
from visits import people

import cohortium
from cohortium.cli import build
from cohortium.errors import CohortiumError, InputError, SchemaError
from cohortium.evaluation import learning
from cohortium_server.evaluation import comparing
from cohortium_server.evaluation.evaluated import WARNING, Evaluated
from cohortium_server.release import Release

ROWS = 600


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """How good a model is is asked elsewhere."""
    monkeypatch.setattr(learning, "FAMILIES", ("linear",))


@pytest.fixture
def found(release: Release) -> Evaluated:
    return release.evaluate(people(ROWS, 0), people(ROWS, 99), groups="sex")


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_release_is_compared_and_attacked_and_stays_as_it_was(release: Release) -> None:
    before = contents(release.path)
    found = release.evaluate(people(ROWS, 0), people(ROWS, 99), groups="sex")
    assert set(found.measures["topic"]) == {"columns", "pairs", "rows", "models", "fairness"}
    assert set(found.measures[found.measures["topic"] == "models"]["of"]) == {"result"}  # the study's target
    assert len(found.attacks) >= 8 and not found.breaks
    assert contents(release.path) == before
    assert found.found.guarantee == (release.manifest["guarantee"]["epsilon"], release.manifest["guarantee"]["delta"])


def test_every_number_of_the_table_is_in_the_document_and_json_can_hold_it(found: Evaluated) -> None:
    document = json.loads(json.dumps(found.document, allow_nan=False))
    assert [m["synthetic"] for m in document["measures"]] == pytest.approx(found.measures["synthetic"].tolist())
    assert document["warning"] == WARNING and len(document["attacks"]) == len(found.attacks)


def test_the_page_says_first_whose_it_is_runs_nothing_and_loads_nothing(found: Evaluated, tmp_path: Path) -> None:
    page = found.write(tmp_path / "page.html")
    html = page.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert html.index("LOCAL ONLY. Computed from real rows") < html.index("<h1>")
    assert not re.search(r"<script|https?://|url\(|\son\w+=", html)
    assert "LOCAL ONLY" in repr(found)

    ids, links = re.findall(r' id="([^"]+)"', html), re.findall(r' href="#([^"]+)"', html)
    assert len(set(ids)) == len(ids) and links and set(links) <= set(ids)
    for measure in found.measures[found.measures["topic"] == "rows"]["measure"]:
        assert measure in html


def test_sentences_name_every_attack_and_both_ends(found: Evaluated) -> None:
    text = "\n".join(found.sentences)
    assert "independent columns" in text and "other real rows" in text
    assert text.count("of persons who took part") == len(found.attacks)


def test_targets_and_groups_are_columns_of_the_schema(release: Release) -> None:
    for chosen in ({"targets": "nothing"}, {"groups": ["nothing"]}):
        with pytest.raises(SchemaError, match="nothing"):
            release.evaluate(people(ROWS, 0), **chosen)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="groups"):
        release.evaluate(people(ROWS, 0), groups=3)  # type: ignore[arg-type]


def test_a_person_counts_with_as_many_rows_as_in_the_study(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(comparing, "evaluate", lambda *words: asked.append(words[4]))
    study = replace(release.study, privacy=replace(release.study.privacy, rows_per_person=3))
    for of, most in ((release, 1), (replace(release, study=study), 3)):
        of.evaluate(people(ROWS, 0))
        assert asked[-1].rows_each == most


def run(*words: object) -> Any:
    return CliRunner().invoke(build(), ["evaluate", *(str(w) for w in words)])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "real.csv", tmp_path / "held.csv"
    for path, seed in zip(paths, (0, 99), strict=True):
        people(ROWS, seed).to_csv(path, index=False)
    return paths


def test_the_command_shows_all_and_writes_a_page(release: Release, files: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run(release.path, "--data", files[0], "--holdout", files[1], "--out", page)
    assert done.exit_code == 0, done.output
    assert "it stays on this screen" in done.output and "copies" not in done.stderr[:0]
    assert "LOCAL ONLY" in page.read_text()
    again = run(release.path, "--data", files[0], "--out", page)
    assert again.exit_code != 0 and "E_RELEASE_EXISTS" in again.output
    as_json = run(release.path, "--data", files[0], "--json", "--seed", 3)
    document = json.loads(as_json.stdout)
    assert document["attacks"] == [] and any("No attack was tried" in n for n in document["notes"])


def test_the_command_ends_with_21_where_an_attack_finds_more_than_is_allowed(
    release: Release, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = comparing.evaluate
    monkeypatch.setattr(
        comparing, "evaluate", lambda s, made, *words: judged(s, words[0], *words)
    )  # real rows as released
    monkeypatch.setattr(comparing, "_guarantee", lambda release: (0.5, 1e-6))
    done = run(release.path, "--data", files[0], "--holdout", files[1])
    assert done.exit_code == 21 and "MORE than the guarantee allows" in done.output


def test_a_bad_table_leaves_no_page(release: Release, tmp_path: Path) -> None:
    short, page = tmp_path / "short.csv", tmp_path / "page.html"
    people(30, 0).to_csv(short, index=False)
    done = run(release.path, "--data", short, "--out", page)
    assert done.exit_code != 0 and "E_EVALUATION" in done.output and not page.exists()


def test_public_names_reach_it(release: Release) -> None:
    assert cohortium.load_release(release.path).evaluate.__doc__
    with pytest.raises(CohortiumError):
        release.evaluate(pd.DataFrame({"a": [1]}))
