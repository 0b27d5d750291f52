"""What others have written is read within bounds, everywhere: no depth of nesting does more than be refused."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import struct
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from enlisted import consents, with_keys
from hypothesis import example, given
from hypothesis import strategies as st

from cohortium.data.columns import Boolean
from cohortium.data.readers.tables import header, read_table
from cohortium.data.schema import Schema, load_schema
from cohortium.errors import CohortiumError, WireError
from cohortium.federation.kit import HEAD, NAMES, SUMS, unpack
from cohortium.federation.membership import load_application, load_succession
from cohortium.federation.wire import (
    MAGIC,
    decode_answer,
    decode_bundle,
    decode_request,
    decode_statement,
    encode_statement,
)
from cohortium.ledger.records import Consent
from cohortium.ledger.restoration import read_request
from cohortium.ledger.store import Ledger
from cohortium.masking.statements import decode_board
from cohortium.study.consent import read_signatures, signatures_folder
from cohortium.study.generators import Sweep
from cohortium.study.study import Privacy, Study, load_study
from cohortium.system import documents
from cohortium.system.canonical import canonical_json
from cohortium.system.documents import MAX_DEPTH, load_json, parse_json, parse_toml, read_within
from cohortium_client.custodian.policy import load_policy
from cohortium_client.relay import load_relay
from cohortium_client.restoring import heads_of
from cohortium_server import desired_state
from cohortium_server.membership import presence
from cohortium_server.membership.federation import load_federation
from cohortium_server.release.evidence import check_evidence
from cohortium_server.release.manifest import verify
from cohortium_server.release.tables import read_released, write_table
from cohortium_server.rounds.folder_journal import FolderJournal
from cohortium_server.rounds.receipts import Receipts

PACKAGES = ("common", "client", "server", "simulation")
ROOT = Path(__file__).parents[2]


def lists(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def objects(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def mixed(levels: int) -> bytes:
    """Lists and objects in turn."""
    pairs, inner = ((levels - 1) // 2, b"[]") if levels % 2 else (levels // 2 - 1, b"[{}]")
    return b'[{"a":' * pairs + inner + b"}]" * pairs


SHAPES = {"lists": lists, "objects": objects, "mixed": mixed}
shaped = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def depth(value: Any) -> int:
    """Levels of lists and objects, by another way than the product's: level by level."""
    levels, here = 0, [value]
    while containers := [v for v in here if isinstance(v, list | dict)]:
        levels += 1
        here = [inner for c in containers for inner in (c.values() if isinstance(c, dict) else c)]
    return levels


# JSON


def read_or_refused(text: bytes) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        return str(error)


@shaped
@pytest.mark.parametrize("levels", [2, MAX_DEPTH - 1, MAX_DEPTH])
def test_up_to_the_limit_everything_is_read(shape: Callable[[int], bytes], levels: int) -> None:
    value = parse_json(shape(levels))
    assert depth(value) == levels
    assert value == json.loads(shape(levels))


@shaped
@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, MAX_DEPTH + 2, 999, 1500, 100_000])
def test_beyond_it_nothing_is(shape: Callable[[int], bytes], levels: int) -> None:
    for text in (shape(levels), shape(levels)[: -levels // 4], b'["x\\\\","\\"",' + shape(levels) + b"]"):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(text)


IN_STRINGS = {
    "lists": "[" * 100_000,
    "objects": '{"a":' * 100_000,
    "quotation marks": '\\"[[' * 1000,
    "backslashes": "\\" * 999 + "[" * 100,
    "ends": "]" * 99,
}


@pytest.mark.parametrize("text", IN_STRINGS.values(), ids=IN_STRINGS)
def test_what_stands_in_strings_is_not_counted(text: str) -> None:
    for reported in ([text, text], {text: [text]}):
        assert read_or_refused(json.dumps(reported).encode()) == reported


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
def test_whatever_is_written_is_read_again(value: Any, ascii_only: bool, indent: int | None) -> None:
    try:
        text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    except UnicodeEncodeError:
        return
    if depth(value) > MAX_DEPTH:
        with pytest.raises(ValueError, match="deeply"):
            parse_json(text)
    else:
        assert parse_json(text) == value
        assert parse_json(b"\xef\xbb\xbf" + text) == value


@given(st.lists(st.sampled_from([*'[]{}",:\\a1', '{"a":', "[" * 20, '\\"', '"[", ']), max_size=80).map("".join))
@example('"[\\')
@example('[\\"[')
def test_of_any_text_either_what_json_says_is_read_or_it_is_refused(text: str) -> None:
    """Also where a quotation mark is left open, or a backslash stands where none may be."""
    try:
        plain = json.loads(text)
        twice = text.count('"a":') > 1
    except ValueError:
        with pytest.raises(ValueError, match=r".+"):
            parse_json(text.encode())
        return
    if depth(plain) <= MAX_DEPTH and not twice:
        assert parse_json(text.encode()) == plain
    elif depth(plain) > MAX_DEPTH:
        with pytest.raises(ValueError, match="deeply"):
            parse_json(text.encode())


REFUSED = {
    "not a number": b"[NaN]",
    "infinity": b"[Infinity]",
    "less than everything": b"[-Infinity]",
    "more than a float holds": b"[1e999]",
    "digits without end": b"1" * 5000,
    "a name twice": b'{"a":1,"a":2}',
    "a name twice, once in other words": b'{"a":1,"\\u0061":2}',
    "a name twice further in": b'[{"b":{"a":1,"a":1}}]',
    "half a surrogate pair": b'["\\ud800"]',
    "the other half": b'["\\uDE00"]',
    "half a pair as a name": b'{"\\ud83d":1}',
    "UTF-16": "[]".encode("utf-16"),
    "UTF-16 without a mark": "[]".encode("utf-16-le"),
    "UTF-32": "[]".encode("utf-32"),
    "Latin-1": '["é"]'.encode("latin-1"),
    "half a pair in bytes": b'["\xed\xa0\x80"]',
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf[]",
    "nothing": b"",
    "more than one": b"[][]",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_two_readers_could_read_differently_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)


def test_whole_pairs_are_read() -> None:
    assert parse_json(b'["\\ud83d\\ude00","\\\\ud800"]') == ["\N{GRINNING FACE}", "\\ud800"]


def test_no_more_is_read_than_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'"1234"')
    assert parse_json(b'"1234"', 6) == load_json(path, 6) == "1234"
    assert read_within(path, 6) == b'"1234"'
    for refused in (lambda: parse_json(b'"1234"', 5), lambda: load_json(path, 5), lambda: read_within(path, 5)):
        with pytest.raises(ValueError, match="too long"):
            refused()


def test_no_refusal_quotes_what_was_read() -> None:
    for text in (b'{"secret":1,"secret":2}', b'{"secret":NaN}', b'{"secret":' + lists(99) + b"}", b'{"secret":1e999}'):
        with pytest.raises(ValueError, match=r".+") as refused:
            parse_json(text)
        assert "secret" not in str(refused.value)


# TOML

TOML: dict[str, Callable[[int], str]] = {
    "arrays": lambda n: f"a = {'[' * n}{']' * n}",
    "inline tables": lambda n: f"a = {'{ a = ' * n}1{'}' * n}",
    "both": lambda n: f"a = {'[ {a = ' * (n // 2)}{'[]' * (n % 2) or 1}{'} ]' * (n // 2)}",
    "after strings": lambda n: f"""b = \"\"\"x\\\"\"\"\"\"\nc = '''y''''\nd = "\\\\"\na = {"[" * n}{"]" * n}""",
    "after a comment": lambda n: f'b = 1 # "\na = {"[" * n}{"]" * n}',
    "a name": lambda n: f"{'.'.join('a' * n)} = 1",
    "a quoted name": lambda n: " . ".join(["'a#'", '"\\"["'] * (n // 2) + ["a"] * (n % 2)) + " = 1",
    "a table's name": lambda n: f"[{'.'.join('a' * n)}]",
    "a name of an array of tables": lambda n: f"[[ {' . '.join('a' * n)} ]]",
    "a name within a table": lambda n: f"a = {{ {'.'.join('a' * n)} = 1 }}",
}
written = pytest.mark.parametrize("write", TOML.values(), ids=TOML)


@written
def test_toml_is_read_up_to_the_limit(write: Callable[[int], str]) -> None:
    for levels in (1, 2, MAX_DEPTH - 2):
        assert parse_toml(write(levels).encode()) == tomllib.loads(write(levels))


@written
def test_toml_beyond_it_is_not(write: Callable[[int], str]) -> None:
    for levels in (MAX_DEPTH + 1, MAX_DEPTH + 2, 100_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_toml(write(levels).encode())


@given(
    st.lists(st.sampled_from([*"[]{}\"'#\n=. \\a1", '"""', "'''", "a = ", "[" * 20, "a.", "\n"]), max_size=60).map(
        "".join
    )
)
@example('a = """["""""\n')
@example("a = '''['''''\n")
@example('a = "\\\n["')
def test_of_any_text_either_what_toml_says_is_read_or_it_is_refused(text: str) -> None:
    try:
        plain = tomllib.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match=r".+"):
            parse_toml(text.encode())
        return
    if depth(plain) < MAX_DEPTH:
        assert parse_toml(text.encode()) == plain


def test_toml_has_a_length_and_is_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_toml(b"\xef\xbb\xbfa = 'x'") == {"a": "x"}
    with pytest.raises(ValueError, match="utf-8"):
        parse_toml(b"a = '\xff'")
    monkeypatch.setattr(documents, "MAX_TOML", 6)
    with pytest.raises(ValueError, match="too long"):
        parse_toml(b"a = 'x'")


# Everybody who reads


STUDY = Study(
    name="deep",
    schema=Schema(columns=(Boolean(name="a"), Boolean(name="b"))),
    privacy=Privacy(epsilon=1.0, delta=1e-6),
    generator=Sweep(),
    institutions=with_keys("north"),
)


def framed(header: bytes, magic: bytes = MAGIC) -> bytes:
    return magic + struct.pack("<I", len(header)) + header


def in_a_ledger(content: bytes, folder: Path) -> object:
    path = folder / "north.sqlite"
    with Ledger(path) as ledger:
        ledger.record(Consent(STUDY.digest, STUDY.name, STUDY.serial))
    raw = sqlite3.connect(path, isolation_level=None)
    for trigger in ("entries_stay", "entries_last"):
        raw.execute(f"DROP TRIGGER {trigger}")
    raw.execute("UPDATE entry SET content = ?", (content.decode(),))
    raw.close()
    return Ledger(path)


def journal(folder: Path) -> FolderJournal:
    return FolderJournal.begin(folder / "runs", STUDY, consents(STUDY), 7, {})


def in_run_json(content: bytes, folder: Path) -> object:
    begun = journal(folder)
    begun.close()
    (begun.folder / "run.json").write_bytes(content)
    return FolderJournal(begun.folder)


def in_a_checkpoint(content: bytes, folder: Path) -> object:
    from numpy import zeros
    from safetensors.numpy import save

    begun = journal(folder)
    (begun.folder / "0000.sum").write_bytes(save({"sum": zeros(1)}, {"heard": content.decode()}))
    try:
        return begun.aggregate(0)
    finally:
        begun.close()


def kept(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    """A reader of the file of that name."""

    def reader(content: bytes, folder: Path) -> object:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        return read(folder)

    return reader


def ended(folder: Path) -> object:
    content = (folder / desired_state.END).read_bytes()
    desired_state.give(folder, "go")  # which takes away how the last one ended
    (folder / desired_state.END).write_bytes(content)
    return desired_state.ended(folder)


def receipts(folder: Path) -> object:
    return Receipts(folder).of(STUDY)


def of_an_order(folder: Path) -> object:
    return desired_state.desired(folder)


def online(folder: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(presence, "is_serving", lambda _: True)
    return presence.online(folder)


RECEIPTS = f"{STUDY.institutions[0].key.rpartition(':')[2]}.json"
JSON_READERS: dict[str, tuple[Callable[[bytes, Path], object], str]] = {
    "a request": (lambda c, _: decode_request(framed(c)), "E_WIRE"),
    "an answer": (lambda c, _: decode_answer(framed(c), 1), "E_WIRE"),
    "a statement": (lambda c, _: decode_statement(framed(c)), "E_WIRE"),
    "a bundle": (lambda c, _: decode_bundle(framed(c)), "E_WIRE"),
    "a board": (lambda c, _: decode_board(c), "E_WIRE"),
    "a request to restore": (kept("r.json", lambda f: read_request(f / "r.json")), "E_RESTORE"),
    "receipts of a coordinator": (kept("r.json", lambda f: heads_of(None, f / "r.json")), "E_RESTORE"),  # type: ignore[arg-type]
    "an application": (kept("a.json", lambda f: load_application(f / "a.json")), "E_MEMBER"),
    "an entry of a ledger": (in_a_ledger, "E_LEDGER_CORRUPT"),
    "a run": (in_run_json, "E_RUN"),
    "a checkpoint": (in_a_checkpoint, "E_RUN"),
    "receipts": (kept(RECEIPTS, receipts), "E_RUN"),
    "an order": (kept(desired_state.ORDER, of_an_order), "E_RUN"),
    "the end of an order": (kept(desired_state.END, ended), "E_RUN"),
    "a manifest": (kept("manifest.json", verify), "E_RELEASE_TOUCHED"),
    "an account": (kept("ledger.json", lambda f: check_evidence(f, STUDY)), "E_RELEASE_TOUCHED"),
}
DEPTHS = (MAX_DEPTH + 1, 1500, 100_000)


@shaped
@pytest.mark.parametrize("levels", DEPTHS)
@pytest.mark.parametrize(("read", "code"), JSON_READERS.values(), ids=JSON_READERS)
def test_every_reader_of_json_refuses_depth_by_its_own_code(
    read: Callable[[bytes, Path], object], code: str, shape: Callable[[int], bytes], levels: int, tmp_path: Path
) -> None:
    with pytest.raises(CohortiumError) as refused:
        read(shape(levels), tmp_path)
    assert refused.value.code == code


@shaped
@pytest.mark.parametrize("levels", DEPTHS)
def test_what_counts_as_absent_where_it_is_damaged_does_so(
    shape: Callable[[int], bytes], levels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kept("s.json", lambda f: load_succession(f / "s.json", "north", ""))(shape(levels), tmp_path) is None
    assert kept(presence.ONLINE, lambda f: online(f, monkeypatch))(shape(levels), tmp_path) == {}
    name = f"{signatures_folder(Path('study.toml'))}/north.json"
    assert kept(name, lambda f: read_signatures(f / "study.toml", STUDY))(shape(levels), tmp_path) == {}


@shaped
def test_a_statement_may_be_as_deep_as_the_limit_says(shape: Callable[[int], bytes]) -> None:
    """It is an object in a header: of what is in it nothing is believed yet, and all of it is read."""
    deep = {"body": json.loads(shape(MAX_DEPTH - 2))}
    assert decode_statement(encode_statement(deep)) == deep
    deeper = {"body": json.loads(shape(MAX_DEPTH - 1))}
    with pytest.raises(WireError, match="E_WIRE"):
        decode_statement(encode_statement(deeper))


TOML_READERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "schema.toml": (lambda f: load_schema(f / "schema.toml"), "E_SCHEMA_INVALID"),
    "study.toml": (lambda f: load_study(f / "study.toml"), "E_SCHEMA_INVALID"),
    "policy.toml": (lambda f: load_policy(f / "policy.toml"), "E_SCHEMA_INVALID"),
    "relay.toml": (load_relay, "E_SCHEMA_INVALID"),
    "federation.toml": (load_federation, "E_SCHEMA_INVALID"),
}


@written
@pytest.mark.parametrize("name", TOML_READERS)
def test_every_reader_of_toml_refuses_depth_by_its_own_code(
    name: str, write: Callable[[int], str], tmp_path: Path
) -> None:
    read, code = TOML_READERS[name]
    for levels in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(CohortiumError) as refused:
            kept(name, read)(write(levels).encode(), tmp_path)
        assert refused.value.code == code


@written
def test_a_kit_refuses_depth_by_its_own_code(write: Callable[[int], str], tmp_path: Path) -> None:
    files = dict.fromkeys(NAMES, b"") | {HEAD: write(MAX_DEPTH + 1).encode()}
    files[SUMS] = "".join(f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in files.items()).encode()
    with zipfile.ZipFile(tmp_path / "kit.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(CohortiumError, match="it is not TOML") as refused:
        unpack((tmp_path / "kit.zip").read_bytes())
    assert refused.value.code == "E_KIT"


TYPES = {"deep": b"[" * 100_000, "no object": b"[]", "no JSON": b"x"}


@pytest.mark.parametrize("described", TYPES.values(), ids=TYPES)
def test_types_that_pandas_would_read_in_a_parquet_file(described: bytes, tmp_path: Path) -> None:
    """Types of its own describe themselves in JSON, which it reads whenever the file's schema is looked at."""
    pd.DataFrame({"a": pd.period_range("2020", periods=2)}).to_parquet(
        tmp_path / "period.parquet"
    )  # it knows them from now on
    said = {b"ARROW:extension:name": b"pandas.period", b"ARROW:extension:metadata": described}
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table([pa.array([1, 2])], schema=pa.schema([pa.field("a", pa.int64(), metadata=said)])), path)
    for read in (header, read_table):
        with pytest.raises(CohortiumError, match="E_CSV_PARSE"):
            read(path)
    with pytest.raises(CohortiumError, match="E_RELEASE_TOUCHED"):
        read_released(path)


@shaped
def test_metadata_that_a_released_table_has_for_pandas(shape: Callable[[int], bytes], tmp_path: Path) -> None:
    path, table = tmp_path / "synthetic.parquet", pd.DataFrame({"a": [1, None]}, dtype="Int64")
    write_table(table, path)
    pd.testing.assert_frame_equal(read_released(path), table)
    for levels in DEPTHS:
        pq.write_table(pq.read_table(path).replace_schema_metadata({"pandas": shape(levels)}), path)
        with pytest.raises(CohortiumError, match="E_RELEASE_TOUCHED"):
            read_released(path)


# The rule of the house

PARSERS = (
    r"\bjson\.loads?\(|JSONDecoder\(|tomllib|validate_json\(|from_json\(|raw_decode\(|from json import|safe_load\("
)
OTHERS = {  # made a moment before
    f"return TypeAdapter({kind}).validate_json(canonical_json(document), strict=True)"
    for kind in ("Restoration", "Amendment")
}


def test_nobody_else_parses() -> None:
    found = {
        (path.name, line.strip())
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(PARSERS, line)
    }
    assert {name for name, line in found if line not in OTHERS} == {"documents.py"}


def test_nothing_that_is_written_comes_near_the_limit(release: Any) -> None:
    """Of all that a release holds and its run kept."""
    texts = list(release.path.glob("*.json"))
    assert len(texts) >= 3
    assert max(depth(json.loads(p.read_bytes())) for p in texts) <= MAX_DEPTH // 2


def test_the_limit_leaves_no_parser_near_its_own() -> None:
    """Canonical JSON is written by a function that calls itself, too, on every Python."""
    for shape in SHAPES.values():
        assert canonical_json(parse_json(shape(MAX_DEPTH))) == shape(MAX_DEPTH)
