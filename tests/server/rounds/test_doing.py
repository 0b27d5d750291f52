"""What a run is doing: who is waited for and since when, and what the coordinator is at; names and public facts, and nothing else."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.system import output
from cohortium.system.documents import load_json
from cohortium.system.output import WORTH_A_LINE, Bar, Lines
from cohortium_server.rounds.doing import BEGINNING, BETWEEN, FILE, RELEASING, Diary, Doing, doing


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_runs_progress_is_recorded(tmp_path: Path, clock: Clock) -> None:
    diary = Diary(tmp_path, clock)

    def reported() -> str:
        clock.now += 2
        found = doing(tmp_path)
        assert found is not None
        return f"{found.words} {found.share}".strip()

    assert reported() == BEGINNING
    diary.start(5, "adding up what it costs")
    diary.done()
    assert reported() == BEGINNING, "a piece of work before the first round is not the end of the rounds"
    diary.start(2, "rounds")
    diary.waits({"north": True, "south": False})
    assert reported() == "round 1 of 2: waiting for north, south (not connected)"
    diary.waits({"south": True})
    assert reported() == "round 1 of 2: waiting for south"
    diary.waits({})
    assert reported() == f"round 1 of 2: {BETWEEN}"
    diary.start(40, "fitting")
    clock.now += 2
    diary.advance(10)
    assert reported() == "round 1 of 2: fitting 25 %"
    diary.done()
    diary.advance()
    assert reported() == f"round 2 of 2: {BETWEEN}"
    diary.advance()
    diary.done()
    assert reported() == RELEASING
    diary.start(1000, "drawing rows")
    clock.now += 2
    diary.advance(500)
    assert reported() == "drawing rows 50 %"
    diary.done()
    diary.close()
    assert doing(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_question_waits_since_it_was_asked_however_many_have_answered(tmp_path: Path, clock: Clock) -> None:
    diary = Diary(tmp_path, clock)
    diary.start(2, "rounds")
    clock.now += 10
    diary.waits({"north": True, "south": True})
    asked = clock.now
    clock.now += 30
    diary.waits({"south": True})
    assert (found := doing(tmp_path)) is not None
    assert (found.since, dict(found.waiting)) == (asked, {"south": True})


def test_work_that_advances_often_is_written_rarely(tmp_path: Path, clock: Clock) -> None:
    diary = Diary(tmp_path, clock)
    diary.start(1000, "drawing rows")
    for _ in range(500):
        diary.advance()
    assert (found := doing(tmp_path)) is not None
    assert found.done == 0
    clock.now += 5
    diary.advance()
    assert (found := doing(tmp_path)) is not None
    assert found.done == 501


def test_the_file_is_the_coordinators_own_and_holds_names_and_public_facts_alone(tmp_path: Path) -> None:
    Diary(tmp_path).waits({"north": True})
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    kinds = {"what": str, "round": int, "rounds": int, "done": int, "total": int, "since": float, "waiting": dict}
    assert {k: type(v) for k, v in load_json(tmp_path / FILE).items()} == kinds


@given(
    st.binary(max_size=60) | st.sampled_from([b"{}", b"[]", b'{"what": 3}', b'{"waiting": {"a": "maybe"}}', b"null"])
)
def test_whatever_lies_there_is_a_run_of_which_nothing_is_known_or_a_doing(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILE).write_bytes(content)
        assert isinstance(doing(Path(folder)), Doing | None)


def test_a_full_disk_is_no_reason_to_stop(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "gone")
    diary.start(1, "rounds")
    diary.waits({"north": True})
    diary.close()


def test_a_log_has_a_line_for_what_lasts_and_none_for_what_is_over_soon(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    said: list[str] = []
    monkeypatch.setattr(output, "print_status", said.append)
    lines = Lines(clock)
    for text in ("waiting for north, south", "fitting", "waiting for south"):
        for _ in range(3):
            lines.note(text, 0.0)
            clock.now += WORTH_A_LINE / 4
    assert said == []
    for share in ("10 %", "20 %", "90 %"):
        clock.now += WORTH_A_LINE
        lines.note("waiting for south", 0.0, share)
    clock.now += WORTH_A_LINE
    lines.note("", 0.0)
    assert len(said) == 1
    assert re.fullmatch(r"waiting for south, since \d\d:\d\d:\d\dZ", said[0])


def test_a_terminal_shows_what_goes_on_as_it_goes_on() -> None:
    bar = Bar()
    bar.start(3, "rounds")
    bar.note("waiting for [bold]north\x1b[2J", 0.0)
    bar.note("fitting", 0.0, "25 %")
    (rounds, note) = bar._bars.tasks
    assert (rounds.description, note.description) == ("rounds", "fitting, 25 %")
    bar.note("waiting for [bold]north\x1b[2J", 0.0)
    assert bar._bars.tasks[1].description.startswith("waiting for \\[bold]north")
    assert "\x1b" not in bar._bars.tasks[1].description
    bar.note("", 0.0)
    bar.done()
    assert bar._bars.tasks == []
