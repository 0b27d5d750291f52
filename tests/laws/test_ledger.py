"""The ledger: nothing leaves uncharged, nothing is charged back, and what was touched is found and named."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.commands.ledger import _files
from cohortium.errors import BudgetError, LedgerError, StudyError, WireError
from cohortium.privacy.accounting import Gaussian, cost, repeated
from cohortium.privacy.ledger import GENESIS, Cap, Charge, Ledger

EVENTS = (Gaussian(4.0), Gaussian(2.0, 0.1, 10))
CHARGE = Charge("people", "ab" * 32, "cd" * 16, 0, 0, "ef" * 32, EVENTS, 1e-6)
DELTA = 1e-6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledgers" / "north.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as opened:
        yield opened


def attempts(count: int, **changes: object) -> list[Charge]:
    return [replace(CHARGE, round=i, request=f"{i:064x}", **changes) for i in range(count)]  # type: ignore[arg-type]


def epsilon(times: int) -> float:
    return cost(repeated(EVENTS, times), DELTA).epsilon


# Charging


def test_a_charge_is_kept_and_its_message_with_it(ledger: Ledger) -> None:
    entry, fresh = ledger.charge(CHARGE, None)
    assert fresh
    assert ledger.message(entry) is None
    ledger.store_message(entry, b"bytes")
    assert ledger.message(entry) == b"bytes"
    assert ledger.entries() == [entry]
    assert entry.charge == CHARGE
    assert ledger.head() == entry.hash != GENESIS


def test_the_same_attempt_is_charged_once(ledger: Ledger) -> None:
    first, _ = ledger.charge(CHARGE, None)
    again, fresh = ledger.charge(CHARGE, None)
    assert (again, fresh) == (first, False)
    assert ledger.spent("people", DELTA).epsilon == epsilon(1)


def test_an_attempt_charged_for_another_request_is_a_replay(ledger: Ledger) -> None:
    ledger.charge(CHARGE, None)
    with pytest.raises(WireError, match="E_REPLAY"):
        ledger.charge(replace(CHARGE, request="00" * 32), None)
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize("change", [{"run": "ee" * 16}, {"attempt": 1}, {"round": 1}])
def test_another_run_attempt_or_round_is_another_charge(ledger: Ledger, change: dict[str, object]) -> None:
    ledger.charge(CHARGE, None)
    _, fresh = ledger.charge(replace(CHARGE, **change), None)  # type: ignore[arg-type]
    assert fresh
    assert ledger.spent("people", DELTA).epsilon == epsilon(2) > epsilon(1)


def test_a_population_goes_on_where_it_stopped_and_others_are_separate(path: Path) -> None:
    with Ledger(path) as first:
        for charge in attempts(3):
            first.charge(charge, None)
    with Ledger(path) as again:
        for charge in attempts(2, run="99" * 16, study="77" * 32):
            again.charge(charge, None)
        again.charge(replace(CHARGE, population="others", run="55" * 16), None)
        assert again.spent("people", DELTA).epsilon == epsilon(5)
        assert again.spent("others", DELTA).epsilon == epsilon(1)
        assert again.spent("nobody", DELTA).epsilon == 0
        assert again.populations() == ["others", "people"]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["people", "others"]), max_size=8))
def test_spending_only_grows(populations: list[str]) -> None:
    with TemporaryDirectory() as folder, Ledger(Path(folder) / "north.sqlite") as opened:
        before = {"people": 0.0, "others": 0.0}
        for i, population in enumerate(populations):
            opened.charge(replace(CHARGE, population=population, round=i), None)
            after = {name: opened.spent(name, DELTA).epsilon for name in before}
            assert after[population] > before[population]
            assert all(after[name] == before[name] for name in before if name != population)
            before = after


# The cap


def test_a_cap_may_be_reached_and_not_passed(ledger: Ledger) -> None:
    cap = Cap(epsilon(2), DELTA)
    first, second, third = attempts(3)
    ledger.charge(first, cap)
    ledger.charge(second, cap)  # exactly the cap
    with pytest.raises(BudgetError, match=r"E_BUDGET.*0\.000 remains") as refused:
        ledger.charge(third, cap)
    assert f"cap of {cap.epsilon:g}" in str(refused.value)
    assert len(ledger.entries()) == 2
    assert ledger.charge(second, cap)[1] is False  # what was answered may be sent again


def test_a_refusal_names_what_remains(ledger: Ledger) -> None:
    cap = Cap(epsilon(2) * (1 - 1e-9), DELTA)
    first, second = attempts(2)
    ledger.charge(first, cap)
    with pytest.raises(BudgetError) as refused:
        ledger.charge(second, cap)
    assert f"{epsilon(1):.3f} is spent and {cap.epsilon - epsilon(1):.3f} remains" in str(refused.value)


def test_a_dry_run_refuses_alike_and_writes_nothing(ledger: Ledger) -> None:
    cap = Cap(epsilon(2), DELTA)
    ledger.afford("people", repeated(EVENTS, 2), cap)
    with pytest.raises(BudgetError, match="E_BUDGET"):
        ledger.afford("people", repeated(EVENTS, 3), cap)
    assert ledger.entries() == []


@pytest.mark.parametrize("nothing", [0.0, -1.0, float("nan")])
def test_a_cap_of_nothing_allows_nothing(ledger: Ledger, nothing: float) -> None:
    with pytest.raises(BudgetError, match="E_BUDGET"):
        ledger.charge(CHARGE, Cap(nothing, DELTA))
    assert ledger.entries() == []


def test_a_cap_at_a_meaningless_delta_allows_nothing(ledger: Ledger) -> None:
    with pytest.raises(StudyError, match="E_PLAN_PRIVACY"):
        ledger.charge(CHARGE, Cap(10.0, 0.01))
    assert ledger.entries() == []


def test_other_peoples_spending_does_not_count(ledger: Ledger) -> None:
    cap = Cap(epsilon(1), DELTA)
    ledger.charge(CHARGE, cap)
    assert ledger.charge(replace(CHARGE, population="others", run="55" * 16), cap)[1]


# Durability and the chain


def test_the_file_is_durable_and_its_owners_alone(ledger: Ledger, path: Path) -> None:
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM entry", "UPDATE entry SET events = '[]'", "UPDATE message SET bytes = x'00'"],
)
def test_rows_are_append_only(ledger: Ledger, path: Path, statement: str) -> None:
    entry, _ = ledger.charge(CHARGE, None)
    ledger.store_message(entry, b"sent")
    with pytest.raises(sqlite3.IntegrityError, match="append only"), sqlite3.connect(path) as raw:
        raw.execute(statement)
    with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
        ledger.store_message(entry, b"other")
    assert ledger.message(entry) == b"sent"


TAMPERED = [
    ("UPDATE entry SET events = replace(events, '4.0', '400.0') WHERE number = 2", 2),
    ("UPDATE entry SET events = '[]' WHERE number = 2", 2),
    ("UPDATE entry SET events = 'no json' WHERE number = 2", 2),
    ("UPDATE entry SET events = '[{\"noise_multiplier\": NaN}]' WHERE number = 2", 2),
    ('UPDATE entry SET events = \'[{"noise_multiplier": 4.0, "count": 1e999}]\' WHERE number = 2', 2),
    ("UPDATE entry SET delta = 9e999 WHERE number = 2", 2),
    ("UPDATE entry SET population = 'others' WHERE number = 1", 1),
    ("UPDATE entry SET request = '00' WHERE number = 3", 3),
    ("UPDATE entry SET at = '1999-01-01' WHERE number = 4", 4),
    ("UPDATE entry SET number = 9 WHERE number = 4", 4),
    ("UPDATE entry SET previous = hash WHERE number = 3", 3),
    ("DELETE FROM entry WHERE number = 1", 1),
    ("DELETE FROM entry WHERE number = 2", 2),
    (
        "INSERT INTO entry SELECT 5, population, study, run, 9, 9, request, events, delta, at, previous, 'x' FROM entry LIMIT 1",
        5,
    ),
]


@pytest.mark.parametrize(("statement", "named"), TAMPERED)
def test_a_touched_chain_is_found_and_named(path: Path, statement: str, named: int) -> None:
    with Ledger(path) as ledger:
        for charge in attempts(4):
            ledger.charge(charge, None)
    with sqlite3.connect(path) as raw:
        for trigger in ("entries_stay", "entries_last"):
            raw.execute(f"DROP TRIGGER {trigger}")
        raw.execute(statement)
    raw.close()
    with Ledger(path) as touched:
        with pytest.raises(LedgerError, match=rf"E_LEDGER_CORRUPT.*entry {named}\b"):
            touched.entries()
        with pytest.raises(LedgerError, match="E_LEDGER_CORRUPT"):
            touched.charge(replace(CHARGE, round=8), None)
        with pytest.raises(LedgerError, match="E_LEDGER_CORRUPT"):
            touched.charge(CHARGE, None)
        with sqlite3.connect(path) as raw:  # the triggers are back
            (count,) = raw.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone()
        assert count == 3


def test_text_that_is_no_text_is_found(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.charge(CHARGE, None)
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TRIGGER entries_last")
        raw.execute("UPDATE entry SET population = CAST(x'ff00fe' AS TEXT)")
    raw.close()
    with Ledger(path) as touched, pytest.raises(LedgerError, match="E_LEDGER_CORRUPT"):
        touched.entries()


@pytest.mark.parametrize(
    "content", [b"no database at all, but rather long" * 40, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_ledger_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="E_LEDGER"):
        Ledger(path)
    assert path.read_bytes() == content


def test_pages_overwritten_in_the_middle_are_never_an_empty_ledger(path: Path) -> None:
    with Ledger(path) as ledger:
        for charge in attempts(40):
            ledger.charge(charge, None)
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 3 :] = b"\xaa" * (len(damaged) - 4096 * 3)
    path.write_bytes(bytes(damaged))
    with pytest.raises(LedgerError, match="E_LEDGER"), Ledger(path) as touched:
        touched.charge(replace(CHARGE, round=99), None)


def test_a_ledger_another_process_holds_is_refused_in_time(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger._db.execute("PRAGMA busy_timeout = 50")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
            ledger.charge(CHARGE, None)
        other.execute("ROLLBACK")
        other.close()
        assert ledger.entries() == []
        assert ledger.charge(CHARGE, None)[1]


def test_a_full_disk_refuses_and_keeps_what_there_is(ledger: Ledger) -> None:
    entry, _ = ledger.charge(CHARGE, None)
    (pages,) = ledger._db.execute("PRAGMA page_count").fetchone()
    ledger._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
        ledger.store_message(entry, bytes(100_000))
    assert ledger.message(entry) is None
    with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
        for charge in attempts(100, run="12" * 16):
            ledger.charge(charge, None)
    kept = len(ledger.entries())
    ledger._db.execute("PRAGMA max_page_count = 100000")
    assert ledger.charge(replace(CHARGE, run="34" * 16), None)[0].number == kept + 1


def test_places_where_no_ledger_can_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "file" / "ledger.sqlite", tmp_path / "folder"):
        with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
            Ledger(place)


AS_NOBODY = """
    import os, sys
    from pathlib import Path
    from cohortium.errors import LedgerError
    from cohortium.privacy.ledger import Ledger
    sys.path.insert(0, sys.argv[2])
    from test_ledger import CHARGE
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        with Ledger(Path(sys.argv[1])) as ledger:
            ledger.charge(CHARGE, None)
    except LedgerError as error:
        print(error.code)
"""


@pytest.mark.parametrize("read_only", ["file", "folder"])
def test_a_read_only_ledger_is_refused(path: Path, read_only: str) -> None:
    """As nobody where the tests run as root, whom no mode stops."""
    Ledger(path).close()
    path.chmod(0o444)
    if read_only == "folder":
        path.parent.chmod(0o555)
    for parent in list(path.parents)[1:4]:
        parent.chmod(parent.stat().st_mode | 0o555)
    ran = run_script(AS_NOBODY, str(path), str(Path(__file__).parent))
    path.parent.chmod(0o755)
    assert ran.stdout.strip() == "E_LEDGER_UNAVAILABLE", ran.stderr
    with Ledger(path) as ledger:
        assert ledger.entries() == []


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


# Looking makes nothing


def test_looking_for_ledgers_makes_none(home: Path) -> None:
    assert _files(None) == []
    with pytest.raises(LedgerError, match="E_LEDGER_UNAVAILABLE"):
        _files(home / "north.sqlite")
    assert not home.exists()


# Killed at every point between the charge and the answer

KILLED = """
    import os, signal, sys
    from pathlib import Path
    import numpy as np
    from cohortium import wire
    from cohortium.encoding import Codes
    from cohortium.privacy.ledger import Ledger
    from cohortium.schema import Boolean, Schema
    from cohortium.study import Institution, Privacy, Study, Sweep
    from cohortium_client.custodian import Custodian, Population

    path, point, sent = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    columns = tuple(Boolean(name=name) for name in "ab")
    study = Study(name="s", schema=Schema(columns=columns), privacy=Privacy(epsilon=1.0, delta=1e-6),
                  generator=Sweep(), institutions=(Institution(name="north"),))

    def dies(function, before):
        def wrapped(*arguments):
            if before:
                os.kill(os.getpid(), signal.SIGKILL)
            function(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        return wrapped

    ledger = Ledger(path)
    custodian = Custodian("north", study, Codes(np.zeros((9, 2), np.int16), np.arange(9), (2, 2)), ledger, Population("p"))
    name, _, when = point.partition(":")
    if name:
        setattr(ledger, name, dies(getattr(ledger, name), when == "before"))
    sent.write_bytes(custodian.answer(wire.encode_request(wire.Request(study.digest, "ab" * 16, 0, 0))))
"""


@pytest.mark.parametrize(
    ("point", "charged", "answered"),
    [
        ("charge:before", 0, True),
        ("charge:after", 1, False),
        ("store_message:before", 1, False),
        ("store_message:after", 1, True),
    ],
)
def test_killed_between_charge_and_answer(path: Path, tmp_path: Path, point: str, charged: int, answered: bool) -> None:
    """What was charged and not answered is never answered with fresh noise; what was answered is sent again."""
    sent = tmp_path / "sent"
    ran = run_script(KILLED, str(path), point, str(sent))
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert not sent.exists()
    with Ledger(path) as ledger:
        assert len(ledger.entries()) == charged
        kept = [ledger.message(entry) for entry in ledger.entries()]
    assert run_script(KILLED, str(path), "", str(sent)).returncode == 0
    assert (b'"type":"reply"' in sent.read_bytes()) is answered
    if not answered:
        assert b"E_REPLAY" in sent.read_bytes()
    if kept and kept[0]:
        assert sent.read_bytes() == kept[0]
    with Ledger(path) as ledger:
        assert len(ledger.entries()) == 1


WRITER = """
    import sys
    from dataclasses import replace
    from pathlib import Path
    from cohortium.privacy.ledger import Ledger
    sys.path.insert(0, sys.argv[2])
    from test_ledger import CHARGE
    with Ledger(Path(sys.argv[1])) as ledger:
        start = len(ledger.entries())
        for i in range(start, start + 100_000):
            entry, _ = ledger.charge(replace(CHARGE, round=i), None)
            ledger.store_message(entry, bytes(100))
            print(i, flush=True)
"""


def test_killed_at_any_moment_no_message_lacks_its_charge(path: Path) -> None:
    told: list[int] = []
    for kill_after in (1, 7, 20):
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told += [int(writer.stdout.readline()) for _ in range(kill_after)]
            os.kill(writer.pid, signal.SIGKILL)
        with Ledger(path) as ledger:
            entries = ledger.entries()
            assert len(entries) > told[-1]
            assert all(ledger.message(entries[i]) == bytes(100) for i in told)
