"""The ledger: nothing leaves uncharged, nothing is charged back, and what was touched is found and named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from charges import CHARGE, EVENTS, STUDY, message_of, put, table
from effort import examples
from enlisted import agree, answer, custodian, request
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.commands.ledger import ledger_files
from cohortium.errors import BudgetError, LedgerError, StudyError, WireError
from cohortium.ledger.caps import Cap, Caps
from cohortium.ledger.format import FORMAT, NEWER
from cohortium.ledger.records import GENESIS, Approval, Charge, Consent, Withdrawal
from cohortium.ledger.store import Ledger
from cohortium.privacy.accounting import Events, Gaussian, composed, cost, repeated, within
from cohortium.system import failpoints
from cohortium.system.canonical import canonical_json, digest

CHEAP = (Gaussian(4.0),)
CONSENT, APPROVAL, WITHDRAWAL = Consent("ab" * 32, "a study", 3), Approval("ab" * 32, "cd" * 16), Withdrawal("ab" * 32)
DELTA = 1e-6
SUPPORT = str(Path(__file__).parents[1] / "support")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledgers" / "north.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as opened:
        yield opened


def witness(path: Path) -> Path:
    return path.with_name(path.name + ".head")


def population_cap(epsilon: float, delta: float = DELTA) -> Caps:
    return Caps(population=Cap(epsilon, delta))


def attempts(count: int, **changes: Any) -> list[Charge]:
    return [replace(CHARGE, round=i, request=f"{i:064x}", **changes) for i in range(count)]


def epsilon(times: int) -> float:
    return cost(repeated(EVENTS, times), DELTA).epsilon


# Charging


def test_a_charge_is_kept_and_its_message_with_it(ledger: Ledger) -> None:
    entry = put(ledger)
    assert ledger.message(entry) == message_of(CHARGE)
    assert ledger.entries() == [entry]
    assert entry.record == replace(CHARGE, message=hashlib.sha256(message_of(CHARGE)).hexdigest())
    assert ledger.head() == entry.hash != GENESIS


def test_charge_and_message_are_committed_at_once(ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen by another connection at every step: never one without the other."""
    seen: dict[str, list[int]] = {}

    def look(place: str) -> None:
        other = sqlite3.connect(path)
        seen[place] = [other.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("entry", "message")]  # noqa: S608
        seen[place].append(int(witness(path).exists() and bool(witness(path).read_text())))
        other.close()

    monkeypatch.setattr(failpoints, "reached", look)
    put(ledger)
    assert seen == {
        "ledger begun": [0, 0, 0],
        "ledger written": [0, 0, 0],
        "ledger committed": [1, 1, 0],
        "witness written": [1, 1, 1],
    }


@pytest.mark.parametrize(("place", "kept"), [("ledger begun", 0), ("ledger written", 0), ("ledger committed", 1)])
def test_what_breaks_off_is_whole_or_not_there(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch, place: str, kept: int
) -> None:
    def stop(at: str) -> None:
        if at == place:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "reached", stop)
        with pytest.raises(KeyboardInterrupt):
            put(ledger)
    for opened in (ledger, Ledger(path)):
        assert len(opened.entries()) == kept
    assert put(ledger).number == 1
    assert ledger.verify() == 1


def test_the_same_attempt_is_charged_once_and_has_one_message(ledger: Ledger) -> None:
    first = put(ledger)
    sent = b"another answer to the same"
    again, message = ledger.charge(replace(CHARGE, message=hashlib.sha256(sent).hexdigest()), sent)
    assert (again, message) == (first, message_of(CHARGE))
    assert ledger.answered(CHARGE) == (first, message_of(CHARGE))
    assert ledger.spent("people", DELTA).epsilon == epsilon(1)


def test_what_was_not_charged_is_not_answered(ledger: Ledger) -> None:
    assert ledger.answered(CHARGE) is None
    put(ledger)
    assert ledger.answered(replace(CHARGE, attempt=1)) is None


def test_an_attempt_charged_for_another_request_is_a_replay(ledger: Ledger) -> None:
    put(ledger)
    for ask in (put, lambda opened, charge: opened.answered(charge)):
        with pytest.raises(WireError, match="E_REPLAY"):
            ask(ledger, replace(CHARGE, request="00" * 32))
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize("change", [{"run": "ee" * 16}, {"attempt": 1}, {"round": 1}])
def test_another_run_attempt_or_round_is_another_charge(ledger: Ledger, change: dict[str, Any]) -> None:
    put(ledger)
    assert put(ledger, replace(CHARGE, **change)).number == 2
    assert ledger.spent("people", DELTA).epsilon == epsilon(2) > epsilon(1)


def test_a_population_goes_on_where_it_stopped_and_others_are_separate(path: Path) -> None:
    with Ledger(path) as first:
        for charge in attempts(3):
            put(first, charge)
    with Ledger(path) as again:
        for charge in attempts(2, run="99" * 16, study="77" * 32):
            put(again, charge)
        put(again, replace(CHARGE, population="others", run="55" * 16))
        assert again.spent("people", DELTA).epsilon == epsilon(5)
        assert again.spent("others", DELTA).epsilon == epsilon(1)
        assert again.spent("nobody", DELTA).epsilon == 0
        assert again.populations() == ["others", "people"]
        assert again.events("people", "77" * 32) == composed(repeated(EVENTS, 2))
        assert [c.population for c in again.charges()] == 5 * ["people"] + ["others"]
        assert len(again.charges("others")) == 1


@settings(max_examples=examples(20), deadline=None)
@given(st.lists(st.sampled_from(["people", "others"]), max_size=8))
def test_spending_only_grows(populations: list[str]) -> None:
    with TemporaryDirectory() as folder, Ledger(Path(folder) / "north.sqlite") as opened:
        before = {"people": 0.0, "others": 0.0}
        for i, population in enumerate(populations):
            put(opened, replace(CHARGE, population=population, round=i))
            after = {name: opened.spent(name, DELTA).epsilon for name in before}
            assert after[population] > before[population]
            assert all(after[name] == before[name] for name in before if name != population)
            before = after


def test_what_was_spent_towards_all_others_is_counted_beside(ledger: Ledger) -> None:
    """Under a mask more; without one, where nothing is noted, the same."""
    put(ledger)
    put(ledger, replace(CHARGE, round=1, bare=()))
    assert ledger.spent("people", DELTA).epsilon == epsilon(2)
    assert ledger.spent_if_all_collude("people", DELTA) == cost((*CHARGE.bare, *EVENTS), DELTA)
    assert ledger.spent_if_all_collude("nobody", DELTA).epsilon == 0


def test_a_message_is_found_by_its_attempt(ledger: Ledger) -> None:
    put(ledger)
    assert ledger.sent(CHARGE.place) == message_of(CHARGE)
    for other in (replace(CHARGE, attempt=1), replace(CHARGE, round=1), replace(CHARGE, run="00" * 16)):
        with pytest.raises(WireError, match="E_ROUND_ORDER"):
            ledger.sent(other.place)


# Every kind of entry

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)
WHOLE = st.integers(0, 2**31 - 1)
GAUSSIANS = st.builds(
    Gaussian,
    st.floats(1e-6, 1e6, allow_nan=False),
    st.floats(0, 1, exclude_min=True, allow_subnormal=False),
    st.integers(1, 10**9),
)
RECORDS = st.one_of(
    st.builds(Consent, HEX, TEXT, st.integers(1, 2**53)),
    st.builds(Withdrawal, HEX),
    st.builds(Approval, HEX, HEX),
    st.builds(
        Charge, TEXT, HEX, HEX, WHOLE, WHOLE, HEX, st.just(""), st.lists(GAUSSIANS, max_size=3).map(tuple), st.just(DELTA),
        st.lists(GAUSSIANS, max_size=2).map(tuple),
    ),
)  # fmt: skip


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(RECORDS, max_size=6, unique_by=lambda r: getattr(r, "place", id(r))))
def test_every_kind_of_entry_is_read_as_it_was_written(records: list[Any]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "north.sqlite"
        with Ledger(path) as opened:
            written = [put(opened, r) if isinstance(r, Charge) else opened.record(r) for r in records]
            assert opened.entries() == written
        with Ledger(path) as again:
            assert again.entries() == written
            assert again.verify() == len(records)
            for entry, record in zip(written, records, strict=True):
                kept = replace(entry.record, message="") if isinstance(entry.record, Charge) else entry.record
                assert kept == record


def test_agreements_cost_nothing(ledger: Ledger) -> None:
    for record in (CONSENT, APPROVAL, WITHDRAWAL, CONSENT):
        ledger.record(record)
    assert ledger.charges() == []
    assert ledger.populations() == []
    assert [e.record for e in ledger.entries()] == [CONSENT, APPROVAL, WITHDRAWAL, CONSENT]


def test_a_message_belongs_to_a_charge_only(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="E_LEDGER_CORRUPT"):
        ledger.message(ledger.record(CONSENT))


# The caps


def test_bad_input_42_a_cap_may_be_reached_and_not_passed(ledger: Ledger) -> None:
    caps = population_cap(epsilon(2))
    first, second, third = attempts(3)
    put(ledger, first, caps)
    put(ledger, second, caps)  # exactly the cap
    with pytest.raises(BudgetError, match=r"E_BUDGET.*0\.000 remains") as refused:
        put(ledger, third, caps)
    assert f"cap of {epsilon(2):g}" in str(refused.value)
    assert len(ledger.entries()) == 2
    assert put(ledger, second, caps).number == 2  # what was answered may be sent again


def test_a_refusal_names_what_remains(ledger: Ledger) -> None:
    caps = population_cap(epsilon(2) * (1 - 1e-9))
    first, second = attempts(2)
    put(ledger, first, caps)
    with pytest.raises(BudgetError) as refused:
        put(ledger, second, caps)
    remains = epsilon(2) * (1 - 1e-9) - epsilon(1)
    assert f"{epsilon(1):.3f} is spent and {remains:.3f} remains" in str(refused.value)


def test_a_dry_run_refuses_alike_and_writes_nothing(ledger: Ledger) -> None:
    caps = population_cap(epsilon(2))
    ledger.afford("people", CHARGE.study, repeated(EVENTS, 2), caps)
    with pytest.raises(BudgetError, match="E_BUDGET"):
        ledger.afford("people", CHARGE.study, repeated(EVENTS, 3), caps)
    assert ledger.entries() == []


@pytest.mark.parametrize("nothing", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("whose", ["population", "study"])
def test_a_cap_of_nothing_allows_nothing(ledger: Ledger, nothing: float, whose: str) -> None:
    for _ in range(2):
        with pytest.raises(BudgetError, match="E_BUDGET"):
            put(ledger, CHARGE, Caps(**{whose: Cap(nothing, DELTA)}))
    assert ledger.entries() == []


def test_a_cap_at_a_meaningless_delta_allows_nothing(ledger: Ledger) -> None:
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        put(ledger, CHARGE, population_cap(10.0, 0.01))
    assert ledger.entries() == []


def test_other_peoples_spending_does_not_count(ledger: Ledger) -> None:
    caps = population_cap(epsilon(1))
    put(ledger, CHARGE, caps)
    assert put(ledger, replace(CHARGE, population="others", run="55" * 16), caps).number == 2


def test_a_studys_cap_counts_that_study_and_a_populations_all(ledger: Ledger) -> None:
    caps = Caps(Cap(epsilon(3), DELTA), Cap(epsilon(2), DELTA))
    first, second, third = attempts(3)
    put(ledger, first, caps)
    put(ledger, second, caps)
    with pytest.raises(BudgetError, match="study"):
        put(ledger, third, caps)
    other = [replace(c, study="77" * 32, run="55" * 16) for c in attempts(2)]
    put(ledger, other[0], caps)
    with pytest.raises(BudgetError, match="population"):
        put(ledger, other[1], caps)
    assert len(ledger.charges()) == 3


COUNTS = st.integers(1, 4)
NOISES = st.sampled_from([1.0, 2.5, 7.0])
STEP = st.tuples(
    st.sampled_from(["people", "others"]),
    st.sampled_from(["aa" * 32, "bb" * 32]),
    st.lists(st.builds(Gaussian, NOISES, st.just(1.0), COUNTS), min_size=1, max_size=2).map(tuple),
    st.sampled_from([0.5, 1.5, 4.0, 9.0]),
    st.sampled_from([None, 1.0, 3.0]),
    st.booleans(),
)


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(STEP, max_size=12))
def test_what_is_remembered_as_affordable_never_passes_what_is_not(steps: list[Any]) -> None:
    """Each decision against the cost computed anew; dry runs of more than is charged are what is remembered."""
    spent: dict[tuple[str, str | None], Events] = {}
    with TemporaryDirectory() as folder, Ledger(Path(folder) / "north.sqlite") as opened:
        for number, (population, study, events, most, own, dry) in enumerate(steps):
            caps = Caps(Cap(most, DELTA), None if own is None else Cap(own, DELTA))
            accounts = {(population, None): most, (population, study): own}
            after = {a: composed((*spent.get(a, ()), *events)) for a in accounts}
            passed = [cost(after[a], DELTA).epsilon - cap for a, cap in accounts.items() if cap is not None]
            charge = replace(CHARGE, population=population, study=study, round=number, events=events)
            try:
                if dry:
                    opened.afford(population, study, events, caps)
                else:
                    put(opened, charge, caps)
                    spent |= after
                assert max(passed) <= 1e-7
            except BudgetError:
                assert max(passed) > -1e-7


def test_a_dry_run_of_much_is_not_a_charge_of_much(ledger: Ledger) -> None:
    """What was found affordable is affordable again and again, until it is charged."""
    caps = population_cap(epsilon(3))
    for _ in range(3):
        ledger.afford("people", CHARGE.study, repeated(EVENTS, 3), caps)
    for charge in attempts(3):
        put(ledger, charge, caps)
    for more in (EVENTS, CHEAP, (Gaussian(1000.0),)):
        with pytest.raises(BudgetError):
            ledger.afford("people", CHARGE.study, more, caps)


EVENT_LISTS = st.lists(st.builds(Gaussian, NOISES, st.sampled_from([1.0, 0.25]), COUNTS), max_size=5)


@given(EVENT_LISTS, EVENT_LISTS, EVENT_LISTS)
def test_within_is_an_order(one: list[Gaussian], two: list[Gaussian], three: list[Gaussian]) -> None:
    a, ab, abc = composed(one), composed([*one, *two]), composed([*one, *two, *three])
    assert within(a, a) and within(a, ab) and within(ab, abc) and within(a, abc)
    assert within(ab, a) == (not two)
    assert within((), a)
    b = composed(two)
    if within(a, b) and within(b, a):
        assert a == b


@given(EVENT_LISTS.filter(bool), st.data())
def test_one_event_more_is_not_within(events: list[Gaussian], data: st.DataObject) -> None:
    whole = composed(events)
    more = data.draw(st.sampled_from(whole))
    assert not within(composed([*whole, replace(more, count=1)]), whole)
    assert not within(composed([*whole, Gaussian(99.0)]), whole)
    fewer = composed(replace(e, count=e.count - 1) for e in whole if e.count > 1)
    assert within(fewer, whole) and not within(whole, fewer)


@settings(max_examples=examples(12), deadline=None)
@given(EVENT_LISTS.filter(bool), EVENT_LISTS)
def test_what_is_within_costs_no_more(part: list[Gaussian], rest: list[Gaussian]) -> None:
    assert cost(part, DELTA).epsilon <= cost([*part, *rest], DELTA).epsilon * (1 + 1e-3) + 1e-9


# Durability and the chain


def test_the_file_is_durable_and_its_owners_alone(ledger: Ledger, path: Path) -> None:
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    put(ledger)
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file


def test_the_head_is_on_disk_before_a_charge_is_returned(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The witness is made durable after COMMIT, and before ``charge`` returns."""
    order: list[str] = []
    real = os.fdatasync

    def synced(descriptor: int) -> None:
        real(descriptor)
        order.append(f"synced {Path(f'/proc/self/fd/{descriptor}').readlink().name}")

    monkeypatch.setattr(os, "fdatasync", synced)
    monkeypatch.setattr(failpoints, "reached", order.append)
    entry = put(ledger)
    assert order == [
        "ledger begun",
        "ledger written",
        "ledger committed",
        "synced north.sqlite.head",
        "witness written",
    ]
    assert witness(path).read_text() == entry.hash


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entry",
        "UPDATE entry SET content = '{}'",
        "UPDATE message SET bytes = x'00'",
        "DELETE FROM message",
    ],
)
def test_rows_are_append_only(ledger: Ledger, path: Path, statement: str) -> None:
    entry = put(ledger)
    with pytest.raises(sqlite3.IntegrityError, match="append only"), sqlite3.connect(path) as raw:
        raw.execute(statement)
    assert ledger.message(entry) == message_of(CHARGE)
    assert ledger.verify() == 1


def forge(path: Path, *statements: tuple[str, tuple[Any, ...]] | str) -> None:
    """Do to the file what its triggers forbid, as anybody can who has the file."""
    raw = sqlite3.connect(path, isolation_level=None)
    for trigger in ("entries_stay", "entries_last", "messages_stay", "messages_last"):
        raw.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        done = raw.execute(*statement) if isinstance(statement, tuple) else raw.execute(statement)
        assert done.rowcount != 0, "the forgery changed nothing"
    raw.close()


KINDS = {"consent": 1, "approval": 2, "charge": 3, "withdrawal": 4}


@pytest.fixture
def full(path: Path) -> Path:
    """A ledger with entries of every kind: consent, approval, charge, withdrawal, charge."""
    with Ledger(path) as opened:
        opened.record(CONSENT)
        opened.record(APPROVAL)
        put(opened)
        opened.record(WITHDRAWAL)
        put(opened, replace(CHARGE, round=1))
    return path


COLUMNS: dict[str, Any] = {
    "number": 90,
    "attempt": "x",
    "at": "1999-01-01T00:00:00+00:00",
    "previous": "12" * 32,
    "hash": "34" * 32,
}


def found(path: Path, number: int) -> None:
    """Opening names the entry, and never anything else; nor is a ledger that is open misled."""
    for _ in range(2):
        with pytest.raises(LedgerError, match=rf"E_LEDGER_CORRUPT.*entry {number}\b"):
            Ledger(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("column", COLUMNS)
def test_a_touched_column_is_found_and_named(full: Path, kind: str, column: str) -> None:
    forge(full, (f"UPDATE entry SET {column} = ? WHERE number = ?", (COLUMNS[column], KINDS[kind])))  # noqa: S608
    found(full, KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", [*KINDS, "gossip", ""])
def test_an_entry_of_another_kind_is_found(full: Path, kind: str, other: str) -> None:
    if kind != other:
        forge(full, ("UPDATE entry SET kind = ? WHERE number = ?", (other, KINDS[kind])))
        found(full, KINDS[kind])


def test_an_attempt_taken_from_its_charge_is_found(full: Path) -> None:
    forge(full, "UPDATE entry SET attempt = NULL WHERE number = 3")
    found(full, 3)


FIELDS = [(kind, name) for kind, record in zip(KINDS, (CONSENT, APPROVAL, CHARGE, WITHDRAWAL), strict=True) for name in asdict(record)]  # fmt: skip
VALUES = {str: "00" * 32, int: 2, float: 1e-5, list: []}


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_a_touched_field_is_found_and_named(full: Path, kind: str, name: str) -> None:
    raw = sqlite3.connect(full)
    (content,) = raw.execute("SELECT content FROM entry WHERE number = ?", (KINDS[kind],)).fetchone()
    raw.close()
    document = json.loads(content)
    for forged in (
        {**document, name: VALUES[type(document[name])]},
        {k: v for k, v in document.items() if k != name},
    ):
        copy = full.with_name("copy.sqlite")
        shutil.copy(full, copy)
        forge(copy, ("UPDATE entry SET content = ? WHERE number = ?", (canonical_json(forged).decode(), KINDS[kind])))
        found(copy, KINDS[kind])


CONTENTS = [
    "no json",
    "",
    "[]",
    "null",
    '{"a":1}',
    "[" * 100_000,
    '{"events":5}',
    '{"events":[{"noise_multiplier":NaN}]}',
    '{"events":[{"noise_multiplier":4.0,"count":1e999}]}',
    '{"events":[{"noise_multiplier":4.0,"count":1,"rows":7}]}',
]


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("number", [1, 3])
def test_content_that_is_no_record_is_found(full: Path, content: str, number: int) -> None:
    forge(full, ("UPDATE entry SET content = ? WHERE number = ?", (content, number)))
    found(full, number)


def test_text_that_is_no_text_is_found(full: Path) -> None:
    forge(full, "UPDATE entry SET content = CAST(x'ff00fe' AS TEXT) WHERE number = 2")
    with pytest.raises(LedgerError, match="E_LEDGER"):
        Ledger(full)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_deleted_entry_is_found_and_named(full: Path, number: int) -> None:
    forge(full, f"DELETE FROM entry WHERE number = {number}")  # noqa: S608
    found(full, number)


@pytest.mark.parametrize("numbers", ["number = 5", "number >= 4", "number >= 1"])
def test_bad_input_41_an_end_that_was_cut_off_is_found(full: Path, numbers: str) -> None:
    """The chain alone could not show it: the witness does."""
    forge(full, f"DELETE FROM entry WHERE {numbers}")  # noqa: S608
    for _ in range(2):
        with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
            Ledger(full)


def test_entries_exchanged_with_all_their_columns_are_found(full: Path) -> None:
    forge(
        full,
        "UPDATE entry SET number = 90 WHERE number = 1",
        "UPDATE entry SET number = 1 WHERE number = 2",
        "UPDATE entry SET number = 2 WHERE number = 90",
    )
    found(full, 1)


@pytest.mark.parametrize("number", [0, -1])
def test_an_entry_before_the_first_is_found_or_counts_for_nothing(full: Path, number: int) -> None:
    forge(full, f"INSERT INTO entry SELECT {number}, kind, content, 'x', at, 'x', 'x' FROM entry LIMIT 1")  # noqa: S608
    try:
        with Ledger(full) as opened:
            assert len(opened.entries()) == 5
    except LedgerError as error:
        assert error.code == "E_LEDGER_CORRUPT"


def test_an_entry_added_by_another_hand_is_found(full: Path) -> None:
    forge(full, "INSERT INTO entry SELECT 6, kind, content, attempt || 'x', at, hash, 'x' FROM entry WHERE number = 5")
    found(full, 6)


def rewritten(path: Path, **changes: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """The whole chain as it would be, had entry 3 been another from the beginning: with sound hashes."""
    raw = sqlite3.connect(path)
    rows = raw.execute("SELECT number, kind, content, at FROM entry ORDER BY number").fetchall()
    raw.close()
    statements, previous = [], GENESIS
    for number, kind, content, at in rows:
        document = json.loads(content) | (changes if number == 3 else {})
        chain = digest(
            {"format": FORMAT, "number": number, "at": at, "previous": previous, "kind": kind, "content": document}
        )
        values = (canonical_json(document).decode(), previous, chain, number)
        statements.append(("UPDATE entry SET content = ?, previous = ?, hash = ? WHERE number = ?", values))
        previous = chain
    return statements


def test_bad_input_41_a_chain_rewritten_from_the_beginning_is_found(full: Path) -> None:
    """Whoever knows how hashes are made can make a sound chain, but not the head that the witness has seen."""
    unchanged = full.with_name("unchanged.sqlite")
    shutil.copy(full, unchanged)
    shutil.copy(witness(full), witness(unchanged))
    forge(unchanged, *rewritten(unchanged))
    with Ledger(unchanged) as same:  # this is how the hashes are made
        assert same.verify() == 5
    forge(full, *rewritten(full, events=[asdict(Gaussian(400.0))]))
    with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
        Ledger(full)
    witness(full).unlink()
    with Ledger(full) as believed:  # without a witness only those who have seen a head can tell
        assert believed.verify() == 5


MESSAGES = [
    "UPDATE message SET bytes = x'00' WHERE number = 3",
    "UPDATE message SET bytes = x'' WHERE number = 3",
    "UPDATE message SET bytes = CAST(bytes || 'x' AS BLOB) WHERE number = 3",
    "DELETE FROM message WHERE number = 3",
    "UPDATE message SET number = 4 WHERE number = 3",
]


@pytest.mark.parametrize("statement", MESSAGES)
def test_a_touched_message_is_found_and_never_sent(full: Path, statement: str) -> None:
    forge(full, statement)
    with Ledger(full) as touched:
        with pytest.raises(LedgerError, match=r"E_LEDGER_CORRUPT.*message of entry 3\b"):
            touched.answered(CHARGE)
        with pytest.raises(LedgerError, match=r"E_LEDGER_CORRUPT.*message of entry 3\b"):
            put(touched, CHARGE)
        with pytest.raises(LedgerError, match=r"E_LEDGER_CORRUPT.*message of entry 3\b"):
            touched.verify()
        kept = touched.answered(replace(CHARGE, round=1))
        assert kept is not None
        assert kept[1] == message_of(replace(CHARGE, round=1))


def test_a_ledger_that_was_found_broken_stays_so_while_it_is_open(full: Path) -> None:
    with Ledger(full) as opened:
        forge(full, "UPDATE entry SET at = '1999' WHERE number = 2")
        with pytest.raises(LedgerError, match=r"entry 2\b"):
            opened.verify()
        for use in (opened.entries, opened.head, lambda: put(opened, replace(CHARGE, round=8))):
            with pytest.raises(LedgerError, match=r"E_LEDGER_CORRUPT.*entry 2\b"):
                use()  # type: ignore[operator]


@pytest.mark.parametrize(
    "content", [b"no database at all, but rather long" * 40, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_ledger_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="E_LEDGER"):
        Ledger(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("version", [1, NEWER + 1])
def test_a_ledger_of_another_format_is_refused_and_left_alone(path: Path, version: int) -> None:
    path.parent.mkdir()
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE entry (number INTEGER)")
    raw.execute(f"PRAGMA user_version = {version}")
    raw.close()
    with pytest.raises(LedgerError, match=rf"E_VERSION.*format {version}\b"):
        Ledger(path)
    raw = sqlite3.connect(path)
    assert raw.execute("SELECT name FROM sqlite_master").fetchall() == [("entry",)]
    raw.close()


def test_pages_overwritten_in_the_middle_are_never_an_empty_ledger(path: Path) -> None:
    with Ledger(path) as ledger:
        for charge in attempts(40):
            put(ledger, charge)
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 3 :] = b"\xaa" * (len(damaged) - 4096 * 3)
    path.write_bytes(bytes(damaged))
    with pytest.raises(LedgerError, match="E_LEDGER"), Ledger(path) as touched:
        put(touched, replace(CHARGE, round=99))


# Rolled back


def copied(path: Path, to: Path) -> None:
    """The ledger as a backup would hold it, with what is still in its WAL."""
    raw, copy = sqlite3.connect(path), sqlite3.connect(to)
    raw.backup(copy)
    copy.execute("PRAGMA journal_mode = WAL")
    raw.close()
    copy.close()


def test_bad_input_41_an_older_copy_is_refused_and_left_as_it_is(full: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.sqlite"
    copied(full, backup)
    with Ledger(full) as opened:
        put(opened, replace(CHARGE, round=2))
    shutil.copy(backup, full)
    for _ in range(2):
        with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
            Ledger(full)
    raw = sqlite3.connect(full)
    assert raw.execute("SELECT count(*) FROM entry").fetchone() == (5,)
    raw.close()


@pytest.mark.parametrize("with_wal", [True, False])
def test_bad_input_41_a_deleted_ledger_is_not_replaced_by_an_empty_one(full: Path, with_wal: bool) -> None:
    if with_wal:
        for suffix in ("-wal", "-shm"):
            full.with_name(full.name + suffix).write_bytes(b"left over")
    full.unlink()
    before = sorted(p.name for p in full.parent.iterdir())
    for _ in range(2):
        with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
            Ledger(full)
    assert sorted(p.name for p in full.parent.iterdir()) == before


def test_bad_input_41_an_emptied_ledger_is_refused(full: Path) -> None:
    full.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
            Ledger(full)


def test_bad_input_41_another_ledger_in_its_place_is_refused(full: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "other.sqlite") as other:
        other.record(CONSENT)
    shutil.copy(tmp_path / "other.sqlite", full)
    with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
        Ledger(full)


def test_a_ledger_deleted_while_it_is_open_is_missed_at_the_latest_when_it_is_opened(full: Path) -> None:
    with Ledger(full) as opened:
        full.unlink()
        try:
            put(opened, replace(CHARGE, round=2))
        except LedgerError as error:
            assert error.code.startswith("E_LEDGER")
    with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
        Ledger(full)


def test_a_witness_elsewhere_survives_a_restored_folder(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "data" / "north.sqlite", tmp_path / "elsewhere" / "head"
    elsewhere.parent.mkdir()
    with Ledger(path, elsewhere) as opened:
        put(opened)
    shutil.copytree(path.parent, tmp_path / "backup")
    with Ledger(path, elsewhere) as opened:
        put(opened, replace(CHARGE, round=1))
    shutil.rmtree(path.parent)
    shutil.copytree(tmp_path / "backup", path.parent)
    with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
        Ledger(path, elsewhere)
    assert not witness(path).exists()


@pytest.mark.parametrize("lag", ["the head before", "empty", "none"])
def test_a_witness_that_lags_is_harmless(full: Path, lag: str) -> None:
    """Whoever is killed between COMMIT and the witness must be able to go on."""
    with Ledger(full) as opened:
        before = opened.entries()[-2].hash
    if lag == "none":
        witness(full).unlink()
    else:
        witness(full).write_text(before if lag == "the head before" else "")
    with Ledger(full) as opened:
        entry = put(opened, replace(CHARGE, round=2))
    assert witness(full).read_text() == entry.hash


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"00" * 32, "E_LEDGER_CORRUPT|E_LEDGER_ROLLED_BACK"),
        (b"gossip", "E_LEDGER_ROLLED_BACK"),
        (b"\xff\xfe\x00", "E_LEDGER_UNAVAILABLE"),
    ],
)
def test_a_witness_of_something_else_is_refused(full: Path, content: bytes, code: str) -> None:
    if content == b"00" * 32:
        content = b"1" + b"0" * 63
    witness(full).write_bytes(content)
    with pytest.raises(LedgerError, match=code):
        Ledger(full)


def test_a_witness_that_cannot_be_read_is_refused(full: Path) -> None:
    witness(full).unlink()
    witness(full).mkdir()
    with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
        Ledger(full)


def test_a_witness_cannot_be_exchanged_while_the_ledger_is_open(full: Path) -> None:
    """Verification reads it again."""
    with Ledger(full) as opened:
        assert opened.verify() == 5
        witness(full).write_text("12" * 32)
        with pytest.raises(LedgerError, match="E_LEDGER_ROLLED_BACK"):
            opened.verify()


def test_heads_are_held_that_were_ever_heads(full: Path) -> None:
    with Ledger(full) as opened:
        assert all(opened.holds(e.hash) for e in opened.entries())
        assert opened.holds(GENESIS)
        assert not any(opened.holds(h) for h in ("", "12" * 32, opened.head().upper(), opened.head()[:-1]))


@pytest.mark.parametrize("left", [0, 0.03, 0.3, 0.5, 0.8, 0.97, -1])
@pytest.mark.parametrize("witnessed", [True, False])
def test_bad_input_41_a_truncated_wal_loses_nothing_unnoticed(
    path: Path, tmp_path: Path, left: float, witnessed: bool
) -> None:
    """With a witness it is detected; without one, what is left is a sound chain from the beginning."""
    torn = tmp_path / "torn" / path.name
    torn.parent.mkdir()
    with Ledger(path) as ledger:
        written = [put(ledger, charge, message=bytes(3000)) for charge in attempts(8)]
        for suffix in ("", "-wal") + ((".head",) if witnessed else ()):
            shutil.copy(path.with_name(path.name + suffix), torn.with_name(torn.name + suffix))
    wal = torn.with_name(torn.name + "-wal")
    size = wal.stat().st_size
    os.truncate(wal, size - 1 if left == -1 else int(left * size))
    try:
        with Ledger(torn) as opened:
            kept = opened.entries()
            assert kept == written[: len(kept)]
            assert opened.verify() == len(kept)
            assert not witnessed or len(kept) == 8
    except LedgerError as error:
        assert witnessed
        assert error.code == "E_LEDGER_ROLLED_BACK"


# More than one


def test_a_ledger_another_process_writes_is_refused_in_time(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger._db.execute("PRAGMA busy_timeout = 50")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
            put(ledger)
        other.execute("ROLLBACK")
        other.close()
        assert ledger.entries() == []
        assert put(ledger).number == 1


def test_what_another_adds_is_read_verified_and_counted(path: Path) -> None:
    caps = population_cap(epsilon(2))
    with Ledger(path) as one, Ledger(path) as two:
        first, second, third = attempts(3)
        put(one, first)
        put(two, second)
        assert one.entries() == two.entries()
        assert one.head() == two.head()
        assert one.spent("people", DELTA).epsilon == epsilon(2)
        with pytest.raises(BudgetError):
            put(one, third, caps)
        assert two.answered(first) == one.answered(first)
        with pytest.raises(WireError, match="E_REPLAY"):
            put(one, replace(second, request="00" * 32))


def test_an_entry_that_another_forges_while_it_is_open_is_found(path: Path) -> None:
    with Ledger(path) as opened:
        put(opened)
        raw = sqlite3.connect(path, isolation_level=None)
        raw.execute("INSERT INTO entry SELECT 2, kind, content, 'x', at, hash, 'x' FROM entry")
        raw.close()
        for use in (opened.entries, opened.head, lambda: put(opened, replace(CHARGE, round=8))):
            with pytest.raises(LedgerError, match=r"E_LEDGER_CORRUPT.*entry 2\b"):
                use()  # type: ignore[operator]


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script that imports what these tests share, in a process of its own."""
    setting = f"import sys\nsys.path[:0] = [{SUPPORT!r}]\n"
    command = [sys.executable, "-c", setting + textwrap.dedent(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


HOLDER = """
    from pathlib import Path
    from cohortium.errors import LedgerError
    from cohortium.ledger.records import Approval
    from cohortium.ledger.store import Ledger
    with Ledger(Path(sys.argv[1])) as ledger:
        ledger.record(Approval("00", "11"))  # others may still add to it
        try:
            ledger.hold()
            print("held")
        except LedgerError as error:
            print(error.code)
"""


def test_bad_input_41_two_custodians_cannot_hold_one_ledger(path: Path) -> None:
    with Ledger(path) as first:
        first.hold()
        with Ledger(path) as second:
            with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
                second.hold()
            put(second)
        assert run_script(HOLDER, str(path)).stdout.strip() == "E_LEDGER_UNAVAILABLE"
        assert [type(e.record) for e in first.entries()] == [Charge, Approval]  # what both added is in one chain
    assert run_script(HOLDER, str(path)).stdout.strip() == "held"
    with Ledger(path) as after:  # its process has ended
        assert after.hold().verify() == 3


def test_trying_whether_it_is_writable_adds_nothing(ledger: Ledger, path: Path) -> None:
    put(ledger)
    before = ledger.head()
    ledger.writable()
    assert (ledger.head(), ledger.verify()) == (before, 1)
    put(ledger, replace(CHARGE, round=1))
    ledger._db.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
        ledger.writable()


# Where it cannot be written


def test_a_full_disk_refuses_and_keeps_what_there_is(ledger: Ledger) -> None:
    put(ledger)
    (pages,) = ledger._db.execute("PRAGMA page_count").fetchone()
    ledger._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
        put(ledger, replace(CHARGE, round=1), message=bytes(100_000))
    with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
        for charge in attempts(100, run="12" * 16):
            put(ledger, charge)
    kept = ledger.verify()
    ledger._db.execute("PRAGMA max_page_count = 100000")
    assert put(ledger, replace(CHARGE, run="34" * 16)).number == kept + 1


FULL_DISK = """
    import resource
    from dataclasses import replace
    from pathlib import Path
    from cohortium.errors import LedgerError
    from cohortium.ledger.store import Ledger
    from charges import CHARGE, put

    path, charged, refused = Path(sys.argv[1]), 0, 0
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Ledger(path) as ledger:
        put(ledger)
        ledger._db.execute("PRAGMA wal_autocheckpoint = 4")  # so that the file itself is written as well
        for limit in range(1024, 160_000, 1777):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
            try:
                put(ledger, replace(CHARGE, round=1 + charged, attempt=refused), message=bytes(2500))
                charged += 1
            except LedgerError as error:
                assert error.code == "E_LEDGER_UNAVAILABLE", error
                refused += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        assert ledger.verify() == 1 + charged, (ledger.verify(), charged)
        put(ledger, replace(CHARGE, run="34" * 16))
    with Ledger(path) as again:
        assert again.verify() == 2 + charged
    print(charged, refused)
"""


def test_bad_input_41_a_full_disk_at_any_write_reports_nothing_that_is_not_kept(path: Path) -> None:
    """No file may grow beyond a limit that rises: every write there is fails once, the WAL's and the file's."""
    ran = run_script(FULL_DISK, str(path))
    assert ran.returncode == 0, ran.stderr
    reported, refused = map(int, ran.stdout.split())
    assert reported >= 5 and refused >= 5


def test_bad_input_41_a_witness_that_cannot_be_written_is_reported(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> int:
        raise OSError(28, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fails)
        with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
            put(ledger)
    assert ledger.verify() == 1  # charged by then, and sent when it is asked for again
    assert ledger.answered(CHARGE) == (ledger.entries()[0], message_of(CHARGE))


def test_places_where_no_ledger_can_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "file" / "ledger.sqlite", tmp_path / "folder"):
        with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
            Ledger(place)


AS_NOBODY = """
    import os
    from pathlib import Path
    from cohortium.errors import LedgerError
    from cohortium.ledger.store import Ledger
    from charges import CHARGE, put
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        with Ledger(Path(sys.argv[1])) as ledger:
            put(ledger)
    except LedgerError as error:
        print(error.code)
"""


@pytest.mark.parametrize("read_only", ["file", "folder", "hidden"])
def test_bad_input_41_a_read_only_ledger_is_refused(read_only: str) -> None:
    """As nobody where the tests run as root, whom no mode stops; in a folder that nobody may enter, or may not."""
    with TemporaryDirectory() as above:
        path = Path(above) / "ledgers" / "north.sqlite"
        Ledger(path).close()
        path.chmod(0o444)
        path.parent.chmod({"file": 0o755, "folder": 0o555, "hidden": 0o600}[read_only])
        Path(above).chmod(0o755)
        ran = run_script(AS_NOBODY, str(path))
        path.parent.chmod(0o755)
        assert ran.stdout.strip() == "E_LEDGER_UNAVAILABLE", ran.stderr
        with Ledger(path) as ledger:
            assert ledger.entries() == []


# Looking makes nothing


def test_looking_for_ledgers_makes_none(home: Path) -> None:
    assert ledger_files(None) == []
    with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
        ledger_files(home / "north.sqlite")
    assert not home.exists()


# Killed


KILLED = """
    import os, signal
    from pathlib import Path
    from cohortium.system import failpoints
    from cohortium.ledger.store import Ledger
    from enlisted import agree, custodian, request
    from charges import STUDY, table

    path, point, sent = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    failpoints.reached = lambda place: place == point and os.kill(os.getpid(), signal.SIGKILL)
    sent.write_bytes(custodian(Ledger(path), table, STUDY).answer(request(STUDY)))
"""


@pytest.mark.parametrize(
    ("point", "charged"), [("answer computed", 0), ("ledger written", 0), ("ledger committed", 1), ("answer sealed", 1)]
)
def test_killed_before_the_answer_is_sent(path: Path, tmp_path: Path, point: str, charged: int) -> None:
    """Killed before COMMIT it has spent nothing and said nothing; after it, it says the same bytes again."""
    with Ledger(path) as ledger:
        agree(ledger, STUDY)
    sent = tmp_path / "sent"
    ran = run_script(KILLED, str(path), point, str(sent))
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert not sent.exists()
    with Ledger(path) as ledger:
        assert len(ledger.charges()) == charged
        kept = [ledger.message(e) for e in ledger.entries() if isinstance(e.record, Charge)]
        reported = custodian(ledger, table, STUDY).answer(request(STUDY))
        answer(reported, STUDY)
        assert all(reported.endswith(message) for message in kept)
        assert len(ledger.charges()) == 1
        assert ledger.verify() == 2


WRITER = """
    from dataclasses import replace
    from pathlib import Path
    from cohortium.ledger.store import Ledger
    from charges import CHARGE, put
    with Ledger(Path(sys.argv[1])) as ledger:
        start = len(ledger.entries())
        for i in range(start, start + 100_000):
            put(ledger, replace(CHARGE, round=i), message=bytes(100))
            print(i, flush=True)
"""


def test_killed_at_any_moment_no_message_lacks_its_charge(path: Path) -> None:
    reported: list[int] = []
    setting = f"import sys\nsys.path[:0] = [{SUPPORT!r}]\n"
    for kill_after in (1, 7, 20):
        command = [sys.executable, "-c", setting + textwrap.dedent(WRITER), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            reported += [int(writer.stdout.readline()) for _ in range(kill_after)]
            os.kill(writer.pid, signal.SIGKILL)
        with Ledger(path) as ledger:
            entries = ledger.entries()
            assert len(entries) > reported[-1]
            assert all(ledger.message(e) == bytes(100) for e in entries)
            assert ledger.verify() == len(entries)
