"""Laws of the readers: what becomes of a row follows from that row alone, and so does whether there is an answer."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from effort import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from malformed import CASES, differences, outcome

from cohortium.data.readers import lines as lines_module
from cohortium.data.readers.faults import Faults
from cohortium.data.readers.lines import CsvLayout, blocks, careful, cells_of, csv_parts, fast

LAYOUT = CsvLayout(("a", "b", "c"), ("c", "a"))
LAYOUTS = {
    "commas": LAYOUT,
    "semicolons": CsvLayout(("a", "b", "c"), ("c", "a"), b";"),
    "tabs": CsvLayout(("a", "b", "c"), ("b",), b"\t"),
    "blanks": CsvLayout(("a", "b"), ("b",), b" "),
    "one column": CsvLayout(("a",), ("a",)),
}
PIECES = st.sampled_from(
    [
        *b'",,ab \n\n\r'.decode(),
        '""',
        "a,b,c\n",
        '"a","b","c"\n',
        "\0",
        "é",
        "\ufeff",
        '"',
        '",',
        ',"',
        "\x85",
        "\u2028",
        " ",
        ' "',
        ";",
        "\t",
        "Total",
        "\ntotal,1,2\n",
        "\n Summe: ;3;",
        "7",
        "\n",
    ]
).map(str.encode) | st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb"])
CONTENT = st.lists(PIECES, max_size=40).map(b"".join)


def rows(content: bytes, block: int = 8 << 20, layout: CsvLayout = LAYOUT) -> list[list[str]]:
    """What stands behind a header, read in blocks of a size."""
    parts = csv_parts(io.BytesIO(content), layout, block, Faults("t"))
    return [row for part in parts for row in part.to_numpy(object).tolist()]


def whole_lines(content: bytes, blank_rows: bool = False) -> bytes:
    return b"".join(blocks(io.BytesIO(content), 8 << 20, blank_rows))


@pytest.mark.parametrize("kind", LAYOUTS)
@settings(max_examples=examples(300))
@given(content=CONTENT)
@example(content=b'a,b,"c\n\n')  # swallows nothing but a blank line and what is put behind the block
@example(content=b'a,b,"c\n"a,b,c\n')
@example(content=b"\xef\xbb\xbfa,b,c\n")  # PyArrow takes a byte order mark away from the beginning of each block
@example(content=b'a"b,"c",d\n"a""b",c"",d\n"a"b"c,,\n')
@example(content=b'"a", "b", "c"\na; "b" ;c\n')
@example(content=b'Total,1,2\n "Total":;1;2\n\t"Summe"\t\t7\n')
@example(content=b"Total,1,2\na,b,c\n")
@example(content=b"Total;1;2\nTotal\t1\t2\n")
@example(content=b"\n\na\n\n")
def test_both_ways_to_read_lines_give_the_same(kind: str, content: bytes) -> None:
    layout = LAYOUTS[kind]
    lines = whole_lines(content, len(layout.names) == 1)
    if not lines:
        return
    quick, slow = Faults("t"), Faults("t")
    found, expected = fast(lines, 2, layout, quick), careful(lines, 2, layout, slow)
    if found is not None:
        assert found.to_pylist() == expected.to_pylist()
        assert quick.found == slow.found


@pytest.mark.parametrize("kind", LAYOUTS)
@settings(max_examples=examples(200))
@given(content=CONTENT)
@example(content=b'a,b,"c\nd,e,f\ng,h",i\n')
@example(content=b'a,b,c\nTotal,1,2\nd, "e",f\n')
def test_each_line_makes_the_same_of_itself_alone(kind: str, content: bytes) -> None:
    lines = [line + b"\n" for line in content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")]
    whole = b"".join(lines)
    assert rows(whole, layout=LAYOUTS[kind]) == [row for line in lines for row in rows(line, layout=LAYOUTS[kind])]


@pytest.mark.parametrize("kind", LAYOUTS)
@settings(max_examples=examples(150))
@given(content=CONTENT, block=st.integers(1, 30))
@example(content=b"a,b,c\r\nd,e,f\r\n", block=6)  # a block ends between CR and LF
@example(content=b"\r\n\r\na\r\n", block=2)
def test_blocks_make_no_difference(kind: str, content: bytes, block: int) -> None:
    assert rows(content, block, LAYOUTS[kind]) == rows(content, layout=LAYOUTS[kind])


def test_the_fast_way_is_taken_where_nothing_is_wrong_but_some_counts() -> None:
    content = 'a,b,c\n"a","b ""c"", d","é"\na,b\na,b,c,d\n,,\n'.encode()
    assert fast(content, 2, LAYOUT, Faults("t")) is not None
    for odd in (b"\0,b,c\n", b"\xff,b,c\n", b'"a,b,c\n', b'a, "b",c\n', b"Total,1,2\n"):
        assert fast(content + odd, 2, LAYOUT, Faults("t")) is None


@pytest.mark.parametrize("block", [100, 8 << 20])
def test_a_long_line_is_no_row_whatever_its_neighbours(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(lines_module, "MAX_ROW", 50)
    allowed, long = b"a,b," + b"x" * 46, b"a,b," + b"x" * 47
    expected = [["x" * 46, "a"], ["c", "a"]]
    assert rows(b"\n".join([long, allowed, long, long * 9, b"a,b,c", long + b"\r"]), block) == expected


def test_a_line_of_any_length_takes_no_memory() -> None:
    class Endless(io.RawIOBase):
        """200 MB without an end of line, then a row."""

        left = 200

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            return b"x" * (1 << 20) if self.left > 0 else (b"\na,b,c\n" if self.left == 0 else b"")

    largest = max(len(block) for block in blocks(Endless(), 1 << 20))
    assert largest < 11 << 20


def test_a_wide_quoted_cell_is_no_slower_than_its_length() -> None:
    """A pattern that goes back and forth would need years."""
    assert cells_of(b'"' + b'a""' * 300_000) is None
    assert cells_of(b'"' + b"a" * 1_000_000) is None
    assert len(cells_of(b' "' + b', "a' * 200_000) or ()) > 0
    assert len(cells_of(b'x, """y' * 200_000) or ()) > 0
    assert cells_of(b" " * 1_000_000 + b'x, "') is not None


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("seed", range(40))
def test_one_person_decides_about_nobody_else(kind: str, seed: int, tmp_path: Path) -> None:
    """The first of the 2,000 of each kind that benchmarks/fuzz.py reads."""
    assert differences(CASES[kind](seed, tmp_path)) == ""


@pytest.mark.parametrize("kind", CASES)
def test_the_malformed_tables_are_answered_and_refused(kind: str, tmp_path: Path) -> None:
    """Else the law above would say nothing."""
    found = [outcome(case.with_newcomer, case.folder) for case in (CASES[kind](s, tmp_path) for s in range(30))]
    refused = sum(isinstance(f, str) for f in found)
    assert 0 < refused < 15
    assert sum(len(f) for f in found if not isinstance(f, str)) > 50
    assert sum(f.left_out for f in found if not isinstance(f, str)) > (0 if kind != "SQLite" else -1)


def test_faults_are_counted_and_placed() -> None:
    content = b'a,b,c\na,b\na,"b,c\na,b,\xff\na,b,\xfe\na,b,c\0\n'
    faults = Faults("t")
    assert len(pd.concat(csv_parts(io.BytesIO(content), LAYOUT, 1 << 20, faults))) == 4
    reported = {(f.kind.name, f.column): (f.count, f.rows) for f in faults.found}
    assert reported == {
        ("cells", None): (1, (3,)),
        ("quote", None): (1, (4,)),
        ("encoding", "c"): (2, (5, 6)),
        ("NUL", "c"): (1, (7,)),
    }
