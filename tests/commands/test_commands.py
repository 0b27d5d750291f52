"""What commands load, replace, offer and tell: nothing that they need not, nothing unasked, and always a next step."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fits
import numpy as np
import pytest
from console import call, call_json, data_fixture, drafted_fixture, runner  # noqa: F401 (fixtures)
from csv_institution import GOOD, HEAD, SCHEMA, STUDY, institution
from hypothesis import given
from hypothesis import strategies as st
from visits import everybody

from cohortium.cli import build
from cohortium.data.conditions import swallowed
from cohortium.data.conditions.parsing import selected
from cohortium.data.schema import Schema, schema_from_document, to_document
from cohortium.errors import CohortiumError, ReleaseError
from cohortium.study.consent import write_signature
from cohortium.study.study import Study, dumps_schema, dumps_study, load_study, study_from_document, study_to_document
from cohortium.system import extras
from cohortium.system.nearest import nearest
from cohortium.system.progress import Late, Progress, Silent, listener, listening
from cohortium_client.custodian.institution import load_institution
from cohortium_client.preflight import preflight
from cohortium_server.release import Release, answers, load_release
from cohortium_simulation.experiment import simulate

# What is loaded

LOADED = """
import sys
import tempfile
sys.argv = ["cohortium", *{arguments!r}]
from cohortium.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("|".join(sorted(sys.modules)), file=sys.stderr)
"""


def loaded_by(*arguments: object) -> set[str]:
    """The packages that a command has loaded when it is done."""
    program = LOADED.format(arguments=[str(a) for a in arguments])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stderr.strip().splitlines()[-1].split("|")}


HEAVY = {"torch", "flwr", "matplotlib", "sklearn", "jax", "sqlalchemy", "grpc"}


@pytest.mark.parametrize(
    "verb",
    [
        ("verify", "RELEASE"),
        ("sample", "RELEASE", "--rows", "20", "--where", "result=positive", "--out", "OUT"),
        ("query", "RELEASE", "--where", "result=positive"),
        ("query", "RELEASE", "--where", "result=positive", "--where", "age=0..40"),
    ],
    ids=["verify", "sample", "query-one", "query-two"],
)
def test_who_uses_a_release_waits_for_no_library_that_fits_one(
    verb: tuple[str, ...], learnt: Path, tmp_path: Path
) -> None:
    given = {"RELEASE": learnt, "OUT": tmp_path / "rows.csv"}
    assert loaded_by(*(given.get(word, word) for word in verb)) & HEAVY == set()


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("sample", "--help"), ("study", "--help")], ids=" ".join
)
def test_help_loads_nothing_that_reads_a_table(arguments: tuple[str, ...]) -> None:
    assert loaded_by(*arguments) & {*HEAVY, "pandas", "numpy", "scipy", "pyarrow", "pydantic", "cryptography"} == set()


# What a release knows of its model's errors


@pytest.fixture(scope="session")
def learnt(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release as commands write it."""
    folder = tmp_path_factory.mktemp("learnt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COHORTIUM_HOME", str(folder / "home"))
        fits.shorten(patch.setattr)
        simulate(study, everybody(), folder / "release", seed=1, learn=True)
    return folder / "release"


def test_a_release_that_commands_wrote_answers_without_a_fit(learnt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "rehearsed", lambda *_: pytest.fail("it was fitted again"))
    reported = load_release(learnt).query({"result": "positive", "ward": "a", "sex": "f"})
    assert reported.low < reported.estimate < reported.high


@pytest.mark.usefixtures("short_fits")  # as they were when they were kept
def test_the_laws_that_are_kept_are_those_that_would_be_learnt_again(learnt: Path) -> None:
    kept = load_release(learnt).answers
    laws, tails = kept.errors
    again, others = replace(kept, known=None).errors
    assert laws.keys() == again.keys() and len(laws) > 1
    np.testing.assert_array_equal(tails, others)
    for name, law in laws.items():
        for part, value in vars(law).items():
            np.testing.assert_array_equal(value, getattr(again[name], part))


def test_laws_that_are_none_are_refused(learnt: Path) -> None:
    from safetensors.numpy import load_file

    from cohortium_server.release.answers import stored

    schema, path = load_release(learnt).schema, learnt / "answers.safetensors"
    kept = load_file(path)
    assert stored.read(schema.sizes, kept)[1] is not None
    without = {name: t for name, t in kept.items() if not name.startswith("law")}
    assert stored.read(schema.sizes, without)[1] is None  # of a release from before
    some = next(name for name in kept if name.endswith("/slopes"))
    wrong: list[dict[str, Any]] = [
        {some: kept[some][:-1]},
        {some: kept[some][:, None]},
        {some: np.full_like(kept[some], np.nan)},
        {"law-tails": -kept["law-tails"]},
        {"law-tails": kept["law-tails"][:-1]},
        {some.replace("slopes", "doubt"): np.zeros(3)},
    ]
    for change in wrong:
        with pytest.raises(ReleaseError, match="E_RELEASE_TOUCHED"):
            stored.read(schema.sizes, {**kept, **change})
    with pytest.raises(ReleaseError, match="E_RELEASE_TOUCHED"):
        stored.read(schema.sizes, {name: t for name, t in kept.items() if name != some})


# Nothing is replaced unasked


@pytest.mark.usefixtures("short_fits")
def test_a_second_simulate_never_replaces_a_release_unasked(data: Path, drafted: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    asked = (
        "simulate",
        "--data",
        data,
        "--schema",
        drafted,
        "--institutions",
        1,
        "--epsilon",
        4,
        "--delta",
        1e-6,
        "--out",
        out,
    )
    call(*asked)
    before, spent = (out / "manifest.json").read_bytes(), call_json("ledger", "show")
    result = runner.invoke(build(), [str(a) for a in asked])
    assert result.exit_code == 17 and "E_RELEASE_EXISTS" in result.stderr and "--replace" in result.stderr
    assert ((out / "manifest.json").read_bytes(), call_json("ledger", "show")) == (before, spent)
    call(*asked, "--replace")
    assert (out / "manifest.json").read_bytes() != before


# What is not there


def test_what_is_not_there_is_reported_with_what_is_and_the_nearest_name(release: Release, schema: Schema) -> None:
    for attempt, meant in (
        (lambda: selected(schema, {"resullt": "positive"}), "result"),
        (lambda: selected(schema, ["Age=5"]), "age"),
        (lambda: selected(schema, {"result": "positiv"}), "positive"),
        (lambda: schema.index("wards"), "ward"),
        (lambda: release.sample(5, balance="reslt"), "result"),
        (lambda: release.query(of="aeg"), "age"),
    ):
        with pytest.raises(CohortiumError) as caught:
            attempt()
        assert f"erhaps {meant} is meant" in str(caught.value)


@given(st.text(min_size=1), st.lists(st.text(min_size=1), min_size=1))
def test_the_nearest_name_is_one_of_those_there(name: str, there: list[str]) -> None:
    assert nearest(name, there) in {None, *there}
    assert nearest(there[0], there) in there


# Words for what is wrong with a document

FOREIGN = (
    "should be",
    "pydantic",
    "field required",
    "unexpected keyword",
    "validation",
    "input tag",
    "discriminator",
    "value error",
    "constrained",
)
WRONG = ["x", 3, -1.5, True, None, [], [3], {}, {"x": 1}, "2020-13-01", float("inf"), 10**30]


def spoilt(document: Any) -> list[Any]:
    """The document with each of its entries replaced by each wrong thing, left out, and under a name nobody knows."""
    if isinstance(document, list):
        return [
            [*document[:i], one, *document[i + 1 :]]
            for i, entry in enumerate(document)
            for one in [*WRONG, *spoilt(entry)]
        ]
    if not isinstance(document, dict):
        return []
    found: list[Any] = [{**document, "nobody_knows": 1}]
    for key, entry in document.items():
        found += [{**document, key: one} for one in [*WRONG, *spoilt(entry)]]
        found += [{k: v for k, v in document.items() if k != key}]
    return found


def test_no_text_of_pydantic_reaches_anybody(schema: Schema, study: Study) -> None:
    reported: set[str] = set()
    readers: list[tuple[Callable[[Any], Any], Any]] = [
        (schema_from_document, to_document(schema)),
        (lambda document: study_from_document(document, schema), study_to_document(study)),
    ]
    for read, whole in readers:
        read(whole)
        for document in spoilt(whole):
            try:
                read(document)
            except CohortiumError as error:
                reported.add(str(error))
    assert len(reported) > 100
    assert [text for text in reported if any(word in text.lower() for word in FOREIGN)] == []
    assert [text for text in reported if "it is not what belongs here" in text] == []  # each kind of fault has words


# What a shell took


def test_a_condition_that_a_shell_took_apart_is_reported(
    schema: Schema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReleaseError, match=r"E_CONDITION.*quotes.*'age>=40'") as caught:
        selected(schema, ["age"])
    assert "delete" not in str(caught.value)
    (tmp_path / "=40").touch()
    (tmp_path / "=notes").write_text("mine")
    with pytest.raises(ReleaseError, match=r"written to '=40'; delete that"):
        selected(schema, ["age"])
    (tmp_path / "=40").write_text("somebody's")
    assert "delete" not in swallowed.hint("age")


# Extras


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        (None, '"cohortium[pgm]"'),
        ('{"url": "file:///srv/co%20hort", "dir_info": {"editable": true}}', '--editable "/srv/co hort[pgm]"'),
        ('{"url": "file:///srv/cohort", "dir_info": {}}', ' "/srv/cohort[pgm]"'),
        ('{"url": "file:///w/cohortium-0.1.0-py3-none-any.whl", "archive_info": {}}', '"cohortium[pgm] @ file:///w/cohortium-0.1.0-py3-none-any.whl"'),
        ("no JSON", '"cohortium[pgm]"'),
    ],
    ids=["index", "checkout", "folder", "wheel", "unknown"],
)  # fmt: skip
def test_an_extra_is_installed_from_where_cohortium_came(
    origin: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed:
        def read_text(self, name: str) -> str | None:
            return origin if name == "direct_url.json" else None

    monkeypatch.setattr(extras, "distribution", lambda _: Installed())
    reported = extras.how_to_install("pgm")
    assert reported.startswith(f'Run: "{sys.executable}" -m pip install ') and reported.endswith(said)


# How long it takes


class Recorded:
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def start(self, total: int, what: str) -> None:
        self.calls.append(("start", total, what))

    def advance(self, by: int = 1) -> None:
        self.calls.append(("advance", by))

    def done(self) -> None:
        self.calls.append(("done",))


def test_short_work_is_not_reported_and_long_work_from_then_on() -> None:
    now, made = 0.0, Recorded()
    late: Progress = Late(lambda: made, after=2.0, clock=lambda: now)
    late.start(10, "outer")
    late.advance(3)
    late.start(5, "inner")
    assert made.calls == []
    now = 2.5
    late.advance()
    assert made.calls == [("start", 10, "outer"), ("advance", 3), ("start", 5, "inner"), ("advance", 1)]
    late.advance()
    late.done()
    late.done()
    assert made.calls[4:] == [("advance", 1), ("done",), ("done",)]
    short = Late(lambda: pytest.fail("it was made"), after=2.0, clock=lambda: 0.0)
    short.start(1, "work")
    short.advance()
    short.done()


def test_a_draw_and_the_search_for_noise_report_their_progress(release: Release) -> None:
    from cohortium.privacy.accounting import Gaussian
    from cohortium.privacy.calibration import calibrate

    received = Recorded()
    with listening(received):
        release.sample(500, seed=1)
        calibrate(lambda z: (Gaussian(z),), 1.0, 1e-6)
    begun = [one for one in received.calls if one[0] == "start"]
    assert {str(what) for _, _, what in begun} >= {"drawing rows", "levelling rows", "finding the noise"}
    assert len(begun) == received.calls.count(("done",))
    assert isinstance(listener(), Silent)  # and nobody else


# A check before anybody has signed


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's; pytest's own may be too long."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_a_check_before_anybody_has_signed_finds_no_fault(short: Path) -> None:
    folder = institution(short / "north", HEAD + b"".join(GOOD))
    own = {"north": load_institution(folder).identity.public}
    named = tuple(replace(i, key=own.get(i.name, i.key)) for i in STUDY.institutions)
    (short / "study.toml").write_text(dumps_study(replace(STUDY, institutions=named)))
    (short / "schema.toml").write_text(dumps_schema(SCHEMA))
    found = {c.name.rpartition(": ")[2]: c for c in preflight(folder, short / "study.toml")}
    assert [c for c in found.values() if not c.passed] == []
    assert "a run waits for" in found["consent"].found and "0 of" in found["consent"].found
    agreed = load_study(short / "study.toml")
    write_signature(short / "study.toml", agreed, agreed.institution_names[0], "00" * 64)
    forged = {c.name.rpartition(": ")[2]: c for c in preflight(folder, short / "study.toml")}["consent"]
    assert not forged.passed and "is not a signature of this study" in forged.found


def test_laws_are_read_as_they_were_kept() -> None:
    from cohortium_server.release.answers import laws
    from cohortium_server.release.answers.errors import SCALES, Law

    law = Law(
        np.arange(3.0),
        np.arange(1.0, 4.0),
        np.array([0.5, -1.0, 2.0]),
        0.3,
        np.array([0.7, 0.1]),
        np.eye(2),
        (1.5, 2.5),
    )
    found = laws.read(laws.tensors(({"2": law, "3 apart": law}, np.full(len(SCALES), 1 / len(SCALES)))))
    assert found is not None and found[0].keys() == {"2", "3 apart"}
    for part, value in vars(law).items():
        np.testing.assert_array_equal(value, getattr(found[0]["3 apart"], part))
    assert laws.tensors(({}, found[1])) == {}  # of a kind that is not rehearsed
