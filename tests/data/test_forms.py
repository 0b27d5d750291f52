"""How files are written: separators, packing, workbooks. What is read is the same table; what is not is named in one line."""

from __future__ import annotations

import gzip
import json
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from console import call, call_json
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data.columns import Categorical, Continuous
from cohortium.data.readers import packed, workbooks
from cohortium.data.readers.forms import Form, separator_of
from cohortium.data.readers.tables import header, look, read_parts, read_table, seen
from cohortium.data.schema import Schema
from cohortium.errors import CohortiumError, InputError
from cohortium.system.extras import how_to_install
from cohortium_client.source.source import Source, load_source

COMMA = 'sex,age,note\nm,36,"a,b;c|d"\nf,,"x"\n'
ROWS = [["m", "36", "a,b;c|d"], ["f", "", "x"]]


def written(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(path: Path, **options: Any) -> list[list[object]]:
    return read_table(path, **options).to_numpy(object).tolist()


def refused(path: Path, **options: Any) -> CohortiumError:
    with pytest.raises(CohortiumError) as caught:
        read_table(path, **options)
    return caught.value


def outcome(action: Callable[[], object]) -> object:
    """What an action gives, or the code of its error."""
    try:
        return action()
    except CohortiumError as error:
        return error.code


def separated(by: str) -> str:
    return f'sex{by}age{by}note\nm{by}36{by}"a,b;c|d"\nf{by}{by}"x"\n'


# Separators


@pytest.mark.parametrize("by", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_separators_are_found_in_the_header(tmp_path: Path, by: str, end: str, mark: str) -> None:
    path = written(tmp_path, mark + separated(by).replace("\n", end))
    assert header(path) == ["sex", "age", "note"]
    assert rows(path) == ROWS
    assert rows(path, columns=["note", "sex"]) == [["a,b;c|d", "m"], ["x", "f"]]
    assert rows(path, form=Form(separator=by)) == ROWS


@pytest.mark.parametrize("by", [",", ";", "\t", "|", "^", "~"])
def test_a_line_of_excel_says_the_separator(tmp_path: Path, by: str) -> None:
    path = written(tmp_path, f"\ufeffsep={by}\r\n" + separated(by))
    assert header(path) == ["sex", "age", "note"]
    assert rows(path) == ROWS


@pytest.mark.parametrize(
    ("by", "said"), [("^", "^"), ("~", "~"), ("#", "#"), (":", ":"), ("\t", "tab"), (" ", "blank")]
)
def test_other_separators_can_be_given(tmp_path: Path, by: str, said: str) -> None:
    assert rows(written(tmp_path, separated(by)), form=Form(separator=said)) == ROWS


@pytest.mark.parametrize("by", ["^", "~", "!", "#", ":"])
def test_another_separator_is_named(tmp_path: Path, by: str) -> None:
    error = refused(written(tmp_path, separated(by)))
    assert error.code == "E_FORM"
    assert f"looks separated by {by}" in error.what
    assert f"--separator '{by}'" in error.fix


def test_blanks_that_separate_are_named(tmp_path: Path) -> None:
    error = refused(written(tmp_path, "sex age res\nm 36 pos\nf 47 neg\n"))
    assert (error.code, error.what) == ("E_FORM", "it looks separated by blanks")
    assert rows(written(tmp_path, "age at diagnosis\n36\n47\n")) == [["36"], ["47"]]


def test_a_heading_that_leaves_a_choice_is_asked_about(tmp_path: Path) -> None:
    path = written(tmp_path, "sex;weight, kg;res\nm;80,5;pos\n")
    error = refused(path)
    assert error.code == "E_FORM"
    assert error.what == "its names may be separated by , (2 columns) or ; (3 columns)"
    assert rows(path, form=Form(separator=";")) == [["m", "80,5", "pos"]]
    assert rows(path, columns=["weight, kg"]) == [["80,5"]]  # known names decide
    assert rows(path, columns=["sex;weight"], drop_bad_rows=True) == [["m;80"]]


def test_names_that_hold_separators_in_quotes_leave_no_choice(tmp_path: Path) -> None:
    path = written(tmp_path, '"a;b",c,"d|e"\n1,2,3\n')
    assert outcome(lambda: header(path)) == ["a;b", "c", "d|e"]


@settings(max_examples=examples(200))
@given(rows=st.lists(st.text(alphabet=';,|\t"ab\n ', max_size=12), max_size=6))
def test_no_row_decides_what_separates(rows: list[str]) -> None:
    """Whatever the rows hold, the heading alone is asked."""
    line = b"sex;age"
    assert separator_of(line, Form(), (), "t") == b";"
    content = b"\n".join([line, *(row.encode() for row in rows)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cohortium.data.readers.tables._open", lambda _: __import__("io").BytesIO(content))
        assert header(Path("t.csv")) == ["sex", "age"]


@pytest.mark.parametrize("said", ["ab", "a", "1", '"', "\n", "", "é", "."])
def test_what_separates_nothing_is_refused(said: str) -> None:
    with pytest.raises(InputError, match="E_FORM"):
        Form(separator=said)


def test_blanks_around_cells_do_not_count(tmp_path: Path) -> None:
    path = written(tmp_path, 'sex, age, res\n"m", "36", "a, b"\n"f" ,47 ,  "p ""q"""\nx, "36, pos\n')
    assert header(path) == ["sex", "age", "res"]
    assert rows(path) == [["m", "36", "a, b"], ["f ", "47 ", 'p "q"'], ["x", ' "36', " pos"]]
    assert rows(path, columns=["age"]) == [["36"], ["47 "], [' "36']]


def test_names_with_blanks_that_a_schema_has_are_found(tmp_path: Path) -> None:
    assert rows(written(tmp_path, "sex, age\nm,36\n"), columns=[" age"]) == [["36"]]


def test_blank_lines_of_a_single_column_are_rows(tmp_path: Path) -> None:
    for end in ("\n", "\r\n", "\r"):
        path = written(tmp_path, end.join(["res", "", "neg", "", "", "pos", ""]))
        assert rows(path) == [[""], ["neg"], [""], [""], ["pos"]]
    many = "res\n" + "\npos\n\n" * 40_000
    assert len(read_table(written(tmp_path, many))) == 120_000
    assert rows(written(tmp_path, "a,b\n\n1,2\n\n")) == [["1", "2"]]


# Totals


@pytest.mark.parametrize(
    "line", ["Total;;1234", ";Summe:;1.234,50 €", '"TOTAL",12,5%;7', "grand total;3;4", " ;Total ; 7"]
)
def test_totals_are_no_rows_and_are_reported(tmp_path: Path, line: str) -> None:
    path = written(tmp_path, f"who;age;cost\na;1;2\n{line.replace('12,5%', '12')}\n".replace('"TOTAL",', '"TOTAL";'))
    error = refused(path)
    assert (error.code, error.what) == ("E_CSV_PARSE", "row 3 looks like totals of the others")
    assert rows(path, drop_bad_rows=True) == [["a", "1", "2"]]


@pytest.mark.parametrize(
    "line", ["Total;f;12", "Total response;1;2", "total;;", "a;Total;3", "1;2;3", "Totals are high;;3"]
)
def test_rows_that_are_no_totals_stay(tmp_path: Path, line: str) -> None:
    assert len(read_table(written(tmp_path, f"who;age;cost\na;1;2\n{line}\n"))) == 2


# Packing


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


PACKERS = {"gzip": gzip.compress, "zstd": zstd}


@pytest.mark.parametrize("by", PACKERS)
@pytest.mark.parametrize("name", ["table.csv.gz", "table.csv", "table.csv.zst"])
def test_packed_files_are_read(tmp_path: Path, by: str, name: str) -> None:
    path = written(tmp_path, PACKERS[by](separated(";").encode()), name)
    assert header(path) == ["sex", "age", "note"]
    assert rows(path) == ROWS
    assert (
        rows(written(tmp_path, PACKERS[by](b"\n") + PACKERS[by](separated(";").encode()), name)) == ROWS
    )  # two in one
    assert seen(path) == [f"it is compressed by {by}", "its cells are separated by ;"]


@pytest.mark.parametrize("by", PACKERS)
def test_what_is_packed_wrongly_is_refused(tmp_path: Path, by: str) -> None:
    content = PACKERS[by](("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(50_000))).encode())
    for broken in (content[: len(content) // 2], content[:-6] if by == "gzip" else content[:-3]):
        for strict in (True, False):
            with pytest.raises(InputError, match="E_CSV_PARSE"):
                read_table(written(tmp_path, broken, "t.gz"), drop_bad_rows=strict)


@pytest.mark.parametrize("by", PACKERS)
def test_a_bomb_takes_no_memory_and_ends(tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, PACKERS[by](b"a,b\n1,2\n" + b"0" * (300 << 20)))
    assert path.stat().st_size < 400_000
    tracemalloc.start()
    assert rows(path, drop_bad_rows=True) == [["1", "2"]]
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()
    monkeypatch.setattr(packed, "MAX_UNPACKED", 100 << 20)
    error = refused(path, drop_bad_rows=True)
    assert error.code == "E_LIMIT" and "unpacks to more" in error.what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04....", "ZIP"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Excel"),
        (b"\xfd7zXZ\0", "xz"),
        (b"BZh91AY", "bzip2"),
        (b"PAR1....", "Parquet"),
        (b"SQLite format 3\0", "SQLite"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, what: str) -> None:
    error = refused(written(tmp_path, content))
    assert error.code == "E_FORM" and what in error.what


# Workbooks


def workbook(path: Path, sheets: dict[str, list[list[object]]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, cells in sheets.items():
        sheet = book.create_sheet(name)
        for row in cells:
            sheet.append(row)
    book.save(path)
    return path


def test_a_workbook_is_a_table(tmp_path: Path) -> None:
    cells: list[list[object]] = [
        [],
        ["sex", "age", "seen", "ok", "note "],
        ["m", 36, datetime(2020, 1, 2, 3, 4), True, "#N/A"],
        [],
        ["f", 2.5, date(2020, 1, 2), None, "é"],
        ["Total", 38.5],
    ]
    path = workbook(tmp_path / "t.xlsx", {"Sheet1": cells, "Sheet2": []})
    assert header(path) == ["sex", "age", "seen", "ok", "note"]
    expected = [["m", 36, "2020-01-02 03:04:00", True, "#N/A"], ["f", 2.5, "2020-01-02 00:00:00", None, "é"]]
    assert rows(path, drop_bad_rows=True) == expected
    assert refused(path).what == "row 6 looks like totals of the others"
    assert seen(path) == ["read is its sheet 'Sheet1'"]


def test_blank_cells_of_a_workbook_with_one_column_are_rows(tmp_path: Path) -> None:
    cells: list[list[object]] = [["res"], ["neg"], [None], ["pos"], [None], [None]]
    assert rows(workbook(tmp_path / "t.xlsx", {"a": cells})) == [["neg"], [None], ["pos"]]


def test_a_sheet_is_named_where_there_are_several(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", {"north": [["a", "b"], [1, 2]], "south 'x'": [["c", "d"], [3, 4]]})
    error = refused(path)
    assert error.code == "E_FORM" and "'north'" in error.what and "--sheet 'north'" in error.fix
    assert rows(path, form=Form(sheet="south 'x'")) == [[3, 4]]
    assert refused(path, form=Form(sheet="east")).what == "it has no sheet 'east'"


def test_rows_of_a_workbook_with_more_cells_than_names_are_none(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", {"a": [["a", "b"], [1, 2, 3], [4], [5, 6]]})
    assert refused(path).code == "E_CSV_PARSE"
    assert rows(path, drop_bad_rows=True) == [[4, None], [5, 6]]


@pytest.mark.parametrize("content", [b"PK\x03\x04 no", b"a,b\n1,2\n", b"\0" * 100])
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    assert refused(written(tmp_path, content, "t.xlsx")).code == "E_CSV_PARSE"


def test_a_workbook_without_anything_is_empty(tmp_path: Path) -> None:
    assert refused(workbook(tmp_path / "t.xlsx", {"a": [], "b": [[None]]})).code == "E_EMPTY"


def replaced(path: Path, member: str, content: bytes) -> Path:
    """The workbook with another content of one of its files."""
    with zipfile.ZipFile(path) as old:
        files = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in {**files, member: content}.items():
            new.writestr(name, data)
    return path


SHEET = "xl/worksheets/sheet1.xml"


def test_a_workbook_that_unpacks_to_too_much_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "t.xlsx", {"a": [["a", "b"], [1, 2]]})
    with zipfile.ZipFile(path) as book:
        sheet = book.read(SHEET)
    replaced(path, SHEET, sheet + b"\n" * (4 << 20))
    assert path.stat().st_size < 50_000
    assert rows(path) == [[1, 2]]
    monkeypatch.setattr(workbooks, "MAX_UNPACKED", 4 << 20)
    tracemalloc.start()
    assert outcome(lambda: rows(path)) == "E_LIMIT"
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


def test_entities_of_a_workbook_are_not_expanded(tmp_path: Path) -> None:
    lines = b"".join(b'<!ENTITY e%d "%s">' % (i, b"&e%d;" % (i - 1) * 10) for i in range(1, 12))
    head = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "0123456789">%s]>' % lines
    sheet = (
        b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row r="1">'
        b'<c r="A1" t="inlineStr"><is><t>&e11;</t></is></c></row></sheetData></worksheet>'
    )
    path = replaced(workbook(tmp_path / "t.xlsx", {"a": [["a", "b"], [1, 2]]}), SHEET, head + sheet)
    assert refused(path).code == "E_CSV_PARSE"


def test_a_row_far_below_ends_a_workbook(tmp_path: Path) -> None:
    sheet = (
        b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        b'<row r="1"><c r="A1"><v>1</v></c></row><row r="2000000"><c r="A2000000"><v>2</v></c></row></sheetData></worksheet>'
    )
    path = replaced(workbook(tmp_path / "t.xlsx", {"a": [["a"], [1]]}), SHEET, sheet)
    assert outcome(lambda: len(read_table(path))) == "E_CSV_PARSE"


def test_without_its_package_a_workbook_is_refused_with_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = workbook(tmp_path / "t.xlsx", {"a": [["a", "b"], [1, 2]]})
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    error = refused(path)
    assert error.code == "E_FORM"
    assert how_to_install("excel") in error.fix and "[excel]" in error.fix


# Bytes of Parquet


def test_bytes_that_are_text_are_read_and_reported_and_others_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    kinds = [b"a", b"b"] * 200
    odd = [bytes([255, i % 7]) for i in range(400)]
    pq.write_table(pa.table({"t": pa.array(kinds, pa.binary()), "raw": pa.array(odd, pa.binary())}), path)
    assert seen(path) == [
        f"column {name!r} holds bytes; they are read as text, where they are text" for name in ("t", "raw")
    ]
    document: Any = call_json("schema", "draft", path, "--out", tmp_path / "s.toml")
    assert document["columns"] == ["t"]
    assert any(n["column"] == "raw" and "bytes that are no text" in n["text"] for n in document["review"])


# The same in every command, and at the custodian


SCHEMA = Schema(
    columns=(
        Categorical(name="sex", categories=("m", "f")),
        Continuous(name="age", lower=0, upper=100, nullable=True),
        Categorical(name="note", categories=("a,b;c|d", "x")),
    )
)


def as_workbook(path: Path) -> None:
    workbook(path, {"data": [["sex", "age", "note"], ["m", 36, "a,b;c|d"], ["f", None, "x"]], "other": [["z"]]})


FILES = {
    "comma": (lambda p: written(p.parent, COMMA, p.name), "t.csv", {}),
    "semicolon": (lambda p: written(p.parent, separated(";"), p.name), "t.csv", {}),
    "caret": (lambda p: written(p.parent, separated("^"), p.name), "t.csv", {"separator": "^"}),
    "gzip": (lambda p: written(p.parent, gzip.compress(separated("\t").encode()), p.name), "t.csv.gz", {}),
    "zstd": (lambda p: written(p.parent, zstd(separated("|").encode()), p.name), "t.csv.zst", {}),
    "workbook": (as_workbook, "t.xlsx", {"sheet": "data"}),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_custodian_reads_what_commands_read(tmp_path: Path, kind: str) -> None:
    write, name, said = FILES[kind]
    write(tmp_path / name)
    form = Form(**said)
    expected = [[0, 36, 0], [1, 101, 1]]
    assert outcome(lambda: load_source(Source(path=name, **said), tmp_path, SCHEMA).values.tolist()) == expected
    table = read_table(tmp_path / name, SCHEMA.names, form=form)
    assert table.shape == (2, 3)
    look(tmp_path / name, SCHEMA.names, form)
    options = [text for key, value in said.items() for text in (f"--{key}", value)]
    from cohortium.study.study import dumps_schema

    (tmp_path / "s.toml").write_text(dumps_schema(SCHEMA))
    document: Any = call_json("schema", "check", tmp_path / "s.toml", "--data", tmp_path / name, *options)
    assert (document["data"]["rows"], document["data"]["left_out"], document["data"]["misfits"]) == (2, 0, [])
    call("institution", "init", tmp_path / "site", "--name", "north", "--data", tmp_path / name, *options)
    text = (tmp_path / "site" / "institution.toml").read_text()
    assert all(value in text for value in said.values())


def test_what_a_source_says_of_a_file_is_checked() -> None:
    with pytest.raises(InputError, match="belong to a file"):
        Source(url="sqlite:///a.sqlite", query="SELECT 1", separator=";")
    with pytest.raises(InputError, match="E_FORM"):
        Source(path="t.csv", separator="xy")


def test_an_ambiguous_form_is_reported_by_every_command(tmp_path: Path) -> None:
    path = written(tmp_path, separated("^"))
    error: Any = call_json("schema", "draft", path, "--out", tmp_path / "s.toml", code=10)["error"]
    assert error["code"] == "E_FORM"
    assert not (tmp_path / "s.toml").exists()
    assert "m" not in json.dumps(error["what"]).split()


def test_parts_are_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cohortium.data.readers.tables.WORKBOOK_ROWS", 10)
    path = workbook(tmp_path / "t.xlsx", {"a": [["a", "b"], *[[i, i] for i in range(35)]]})
    assert [len(part) for part in read_parts(path)] == [10, 10, 10, 5]
    assert isinstance(read_table(path), pd.DataFrame)
