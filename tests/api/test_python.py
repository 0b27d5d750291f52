"""Cohortium in Python: what is exposed, what it takes, what it shows, and what it says of what it does not take."""

from __future__ import annotations

import ast
import doctest
import inspect
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from visits import NAMES, everybody, people

import cohortium
from cohortium import between
from cohortium.data.readers.frames import as_table
from cohortium.data.schema import Schema
from cohortium.errors import CohortiumError, InputError, ReleaseError, SchemaError, StudyError
from cohortium.study import consent
from cohortium.study.study import Study
from cohortium_server.release import Release

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

PACKAGES = ("cohortium", "cohortium_client", "cohortium_server", "cohortium_simulation")
WITH_DOCTESTS = (
    "cohortium.data.conditions.constructors",
    "cohortium.data.readers.frames",
    "cohortium.data.schema",
    "cohortium.drafting.draft",
    "cohortium.drafting.proposals",
    "cohortium.errors",
    "cohortium.study.study",
    "cohortium.system.arguments",
    "cohortium.system.nearest",
    "cohortium_server.release.release",
    "cohortium_server.release.answers",
    "cohortium_simulation.compare.comparison",
    "cohortium_simulation.experiment",
    "cohortium_simulation.fitting",
)


# What is exposed


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_that_it_is_typed(package: str) -> None:
    assert (files(package) / "py.typed").is_file()


def test_the_stub_names_what_is_loaded_at_run_time() -> None:
    stub = ast.parse((Path(inspect.getfile(cohortium)).with_suffix(".pyi")).read_text(encoding="utf-8"))
    reported = {
        alias.asname or alias.name: getattr(import_module(str(node.module)), alias.name)
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(reported) == sorted(cohortium.__all__)
    for name, found in reported.items():
        assert getattr(cohortium, name) is found, name


def test_everything_exposed_has_a_signature_and_says_what_it_is() -> None:
    for name in cohortium.__all__:
        found = getattr(cohortium, name)
        assert (found.__doc__ or "").strip(), name
        parameters = inspect.signature(found).parameters.values()
        assert name in ("CohortiumError",) or all(p.annotation is not p.empty for p in parameters), name
    assert "epsilon" in inspect.signature(cohortium.fit).parameters
    assert set(cohortium.__all__) <= set(dir(cohortium))


def test_the_version_is_the_one_installed() -> None:
    assert cohortium.__version__ == "0.1.0"
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = cohortium.fitt  # type: ignore[attr-defined]
    assert consent.__name__ == "cohortium.study.consent"  # modules are found as ever


def test_to_import_it_loads_nothing_else() -> None:
    code = (
        "import cohortium, sys; "
        "print(sorted({'pandas', 'numpy', 'torch', 'flwr', 'pydantic', 'typer', 'scipy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", WITH_DOCTESTS)
def test_examples_in_docstrings_are_what_happens(
    name: str, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where "release/" is one
    failed, tried = doctest.testmod(import_module(name), extraglobs={"release": release})
    assert (failed, tried > 0) == (0, True)


@pytest.mark.parametrize("name", cohortium.__all__)
def test_every_public_name_has_an_example_that_is_run(name: str) -> None:
    public = getattr(cohortium, name)
    assert ">>> " in (inspect.getdoc(public) or "")
    assert public.__module__ in WITH_DOCTESTS


# Tables of every kind


class Streamed:
    """What Polars gives: columns by Arrow's C stream, and nothing of pandas."""

    def __init__(self, table: pa.Table) -> None:
        self._table, self.columns = table, table.column_names

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class Interchanged:
    """A table that has the dataframe protocol alone."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> object:
        return self._table.__dataframe__(nan_as_null, allow_copy)


def arrow() -> pa.Table:
    return pa.table(
        {
            "age": pa.array([31, None, 56], pa.int16()),
            "sex": pa.array(["f", "m", None], pa.string_view()),
            "dose": pa.array([0.5, 1.25, None]),
            "ward": pa.DictionaryArray.from_arrays(pa.array([1, 0, 1]), pa.array(["a", "b"], pa.string_view())),
        }
    )


def plain(table: pa.Table) -> pa.Table:
    """Without the newest types, which the older protocol has no word for."""
    texts = table.set_column(1, "sex", table.column("sex").cast(pa.string()))
    return texts.set_column(3, "ward", pa.array(["b", "a", "b"]).dictionary_encode())


@pytest.mark.parametrize("given", [Streamed(arrow()), Interchanged(plain(arrow())), arrow()])
def test_a_table_of_any_library_has_the_values_that_a_file_of_it_has(given: Any, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(plain(arrow()), tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(as_table(given), as_table(tmp_path / "t.parquet"))


def test_columns_by_name_and_paths_are_tables_too(tmp_path: Path) -> None:
    frame = pd.DataFrame({"age": [31, 42], "sex": ["f", "m"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert as_table(frame) is frame
    assert as_table({"age": np.array([31, 42]), "sex": ["f", "m"]}).equals(frame)
    assert as_table(str(tmp_path / "t.csv"))["sex"].tolist() == ["f", "m"]


@pytest.mark.parametrize(
    "wrong",
    [
        7, None, [1, 2], pd.Series([1, 2]), pa.chunked_array([[1]]), b"visits.csv", {"age": 31}, {"age": "31"},
        {"a": [1], "b": [1, 2]}, pd.DataFrame({0: [1]}), pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pa.table({"a": [[1, 2]]}), pa.table([[1], [2]], names=["a", "a"]), Streamed(pa.table({"a": [{"b": 1}]})),
    ],
)  # fmt: skip
def test_what_is_no_table_is_one_readable_line(wrong: Any) -> None:
    with pytest.raises((InputError, SchemaError)) as caught:
        as_table(wrong)
    assert_readable(caught.value)


def test_the_name_of_a_column_is_a_text() -> None:
    with pytest.raises(SchemaError, match="a column whose name is an int"):
        as_table(pd.DataFrame({0: [1]}))


def assert_readable(error: CohortiumError) -> None:
    """One line, of the tree, with a next step."""
    assert "\n" not in str(error) and len(str(error)) < 300
    assert error.fix and not any(word in str(error).lower() for word in ("pydantic", "should be", "traceback"))


# From a table to a release


@pytest.fixture
def public(schema: Schema) -> Schema:
    return schema


def test_a_table_becomes_a_release_in_one_call(public: Schema, tmp_path: Path) -> None:
    release = cohortium.fit(people(1500, 0), public, epsilon=3, out=tmp_path / "r", seed=1, institutions_per_person=1)
    assert (release.kind, release.study.privacy.epsilon, len(release.study.institutions)) == ("simulation", 3.0, 1)
    assert list(release.sample(5).columns) == list(public.names)
    assert release.query({"result": "positive"}).low >= 0


def test_the_rows_fitted_to_are_those_given_whatever_library_they_are_of(public: Schema, tmp_path: Path) -> None:
    frame = people(600, 0)
    table = Streamed(pa.Table.from_pandas(frame, preserve_index=False))
    one, other = (
        cohortium.fit(t, public, epsilon=8.0, out=tmp_path / f"r{k}", seed=1) for k, t in enumerate((frame, table))
    )
    counts = [len(r.synthetic) for r in (one, other)]
    assert all(abs(count - 600 / 2) < 90 for count in counts)  # two rows a person, of which one counts


def test_institutions_are_a_mapping_of_tables(public: Schema, tmp_path: Path) -> None:
    paths = {}
    for name, table in everybody().items():
        table.to_parquet(tmp_path / f"{name}.parquet")
        paths[name] = str(tmp_path / f"{name}.parquet")
    release = cohortium.fit(paths, public, epsilon=4.0, out=tmp_path / "r", seed=1)
    assert release.study.institution_names == NAMES and release.study.privacy.trust == "secure-sum"


def test_a_second_fit_never_replaces_a_release_unasked(public: Schema, tmp_path: Path) -> None:
    table, out = people(400, 0), tmp_path / "r"
    first = cohortium.fit(table, public, epsilon=2.0, out=out, seed=1)
    manifest = (out / "manifest.json").read_bytes()
    with pytest.raises(ReleaseError, match=r"E_RELEASE_EXISTS.*replace=True"):
        cohortium.fit(table, public, epsilon=2.0, out=out)
    with pytest.raises(ReleaseError, match="E_RELEASE_EXISTS"):
        cohortium.simulate(first.study, dict.fromkeys(first.study.institution_names, table), out)
    assert (out / "manifest.json").read_bytes() == manifest
    cohortium.fit(table, public, epsilon=2.0, out=out, replace=True)
    assert (out / "manifest.json").read_bytes() != manifest


def test_no_schema_is_read_off_rows_by_itself(tmp_path: Path) -> None:
    table = people(400, 0)
    draft = cohortium.draft_schema(table, targets="result", person="id")
    for schema in (None, draft, draft.schema):
        with pytest.raises(SchemaError, match=r"E_REVIEW.*reviewed\(\)"):
            cohortium.fit(table, schema, epsilon=1, out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": "1"}, {"epsilon": float("nan")}, {"epsilon": True}, {"epsilon": -1.0}, {"delta": None}, {"delta": 1.0},
        {"generator": "sweeps"}, {"generator": 3}, {"targets": 3}, {"targets": ["nothing"]}, {"institutions": 0},
        {"institutions": "3"}, {"by": "nothing"}, {"rows": 1.5}, {"rows": 0}, {"seed": "x"}, {"trust": "both"},
        {"rounds": 3}, {"schema": 5}, {"schema": "absent.toml"}, {"rows_per_person": 0}, {"nonsense": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_argument_is_one_readable_line_and_nothing_is_spent(
    wrong: dict[str, Any], public: Schema, tmp_path: Path, home: Path
) -> None:
    asked = {"schema": public, "epsilon": 1.0, **wrong}
    with pytest.raises(CohortiumError) as caught:
        cohortium.fit(people(50, 0), asked.pop("schema"), **asked, out=tmp_path / "r")
    assert_readable(caught.value)
    assert not (tmp_path / "r").exists() and not home.exists()


def test_the_nearest_kind_of_generator_is_offered(public: Schema, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="perhaps autoregressive is meant"):
        cohortium.fit(people(50, 0), public, epsilon=1.0, generator="autoregresive", out=tmp_path / "r")


@pytest.mark.parametrize("wrong", [{"rows": "10"}, {"rows": -1}, {"rows": 2.0}, {"rows": 1, "seed": "a"}])
def test_a_release_says_what_it_cannot_take(wrong: dict[str, Any], release: Release) -> None:
    with pytest.raises(InputError, match="E_ARGUMENT") as caught:
        release.sample(**wrong)
    assert_readable(caught.value)


def test_anything_but_a_study_is_refused_with_a_readable_error(study: Study, tmp_path: Path) -> None:
    for wrong in (None, "study.toml", {"privacy": {}}):
        with pytest.raises(InputError, match="E_ARGUMENT") as caught:
            cohortium.simulate(wrong, everybody(), tmp_path / "r")  # type: ignore[arg-type]
        assert_readable(caught.value)
    with pytest.raises(InputError, match="E_ARGUMENT"):
        cohortium.simulate(study, people(5, 0), tmp_path / "r")  # type: ignore[arg-type]
    with pytest.raises(StudyError):
        cohortium.load_study(str(schema_file(tmp_path)))


def schema_file(folder: Path) -> Path:
    (folder / "schema.toml").write_text('name = "t"\n[[column]]\nname = "a"\nkind = "boolean"\n')
    (folder / "study.toml").write_text('[study]\nname = "s"\n[privacy]\nepsilon = "1"\n')
    assert cohortium.load_schema(str(folder / "schema.toml")).names == ("a",)
    return folder / "study.toml"


# Conditions


def test_a_pair_is_no_condition_for_it_may_be_a_range_or_two_values(release: Release) -> None:
    with pytest.raises(ReleaseError, match=r"E_CONDITION.*between\(low, high\), or a list"):
        release.sample(5, {"age": (40, 60)})
    with pytest.raises(ReleaseError, match="E_CONDITION"):
        release.query({"age": (40, 60)})
    assert set(release.sample(50, {"age": [40, 60]}, seed=1)["age"]) <= {40, 60}
    assert release.sample(50, {"age": between(40, 60)}, seed=1)["age"].between(40, 60).all()
    assert set(release.sample(9, {"ward": ("a", "b")})["ward"]) <= {"a", "b"}  # which have no order, so no range


# What is shown


def test_what_is_shown_is_short_and_escaped(release: Release) -> None:
    study, schema = release.study, release.schema
    assert repr(schema) == "<Schema 'visits': 6 columns>"
    assert repr(study) == "<Study 'visits': sweep, 3 institutions, epsilon 5, delta 1e-06>"
    assert "simulation" in repr(release) and len(repr(release)) < 200
    for shown in (release, study, schema, cohortium.draft_schema(people(200, 0), person="id")):
        page = shown._repr_html_()
        assert page.startswith("<div>") and "<script" not in page
    named = Schema(name="<b>x</b>", columns=schema.columns)
    assert "<b>x" not in named._repr_html_() and "&lt;b&gt;" in named._repr_html_()


def test_a_report_is_its_file_and_its_page(release: Release) -> None:
    report = release.report()
    assert Path(report) == release.path / "report.html" and str(report) == str(release.path / "report.html")
    assert report.html.lower().startswith("<!doctype html")
    assert "sandbox" in report._repr_html_() and "<!doctype" not in report._repr_html_().lower()


def test_a_module_is_what_python_says_it_is() -> None:
    assert isinstance(cohortium, ModuleType) and "draft_schema" in (cohortium.__doc__ or "")


ODD = [
    3,
    -1.5,
    True,
    None,
    "x",
    b"x",
    [],
    [3],
    {},
    {"x": 1},
    {3: 4},
    (1, 2),
    object(),
    float("nan"),
    pd.DataFrame({"a": [1]}),
]


def attempts(release: Release, odd: Any) -> list[Callable[[], object]]:
    """Every argument of what is exposed, once each."""
    column = {"a": [1, 2] * 50}
    return [
        lambda: release.sample(odd),
        lambda: release.sample(2, odd),
        lambda: release.sample(2, {"age": odd}),
        lambda: release.sample(2, {"result": odd}),
        lambda: release.sample(2, seed=odd),
        lambda: release.sample(2, balance=odd),
        lambda: release.query(odd),
        lambda: release.query({"result": "positive"}, of=odd),
        lambda: release.query({"result": "positive"}, kind=odd),
        lambda: release.query({"result": "positive"}, level=odd),
        lambda: release.impute(odd),
        lambda: cohortium.load_release(odd),
        lambda: cohortium.load_study(odd),
        lambda: cohortium.load_schema(odd),
        lambda: cohortium.draft_schema(odd),
        lambda: cohortium.draft_schema(column, targets=odd),
        lambda: cohortium.draft_schema(column, person=odd),
        lambda: cohortium.draft_schema(column, drop=odd),
    ]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_whatever_is_given_is_taken_or_refused_in_one_line(odd: Any, release: Release) -> None:
    reported = []
    for attempt in attempts(release, odd):
        try:
            attempt()
        except CohortiumError as error:
            reported.append(str(error))
    assert reported and not any("\n" in text for text in reported)
