"""What checks, signing, ordering and serving say is what the custodian does: of rows, of budgets, of days and of clocks."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from threading import Event
from typing import Any

import pandas as pd
import pytest
from click.testing import Result
from clocks import clock, day
from enlisted import refusal
from restorers import Place
from typer.testing import CliRunner

from cohortium.cli import build
from cohortium.data.columns import Boolean, Categorical, Continuous
from cohortium.data.schema import Schema
from cohortium.errors import BudgetError, FederationError, LedgerError, StudyError
from cohortium.federation import wire
from cohortium.ledger.records import Approval
from cohortium.study import consent
from cohortium.study.consent import write_signature
from cohortium.study.plan import plan
from cohortium.study.study import Study, dumps_schema, dumps_study
from cohortium.system import logs
from cohortium.system.checks import Check
from cohortium.system.output import print_private
from cohortium_client.commands import fit_report
from cohortium_client.commands.serving import _answered
from cohortium_client.custodian.agreements import agree, withdraw
from cohortium_client.custodian.amending import amend_clock
from cohortium_client.preflight import preflight
from cohortium_client.source.preview import counted, preview
from cohortium_server.rounds.folder_journal import FolderJournal
from cohortium_server.rounds.journal import BriefJournal
from cohortium_server.rounds.rounds import run_study

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

SCHEMA = Schema(
    name="visits",
    columns=(
        Categorical(name="sex", categories=("f", "m")),
        Boolean(name="smokes", nullable=True),
    ),
)
TWO_ROUNDS = Schema(name="ages", columns=(*SCHEMA.columns, Continuous(name="age", lower=0.0, upper=100.0, decimals=0)))
ROWS = 400


def rows(count: int = ROWS, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"sex": ["f", "m"] * (count // 2), "smokes": [True, False] * (count // 2), "age": 7} | columns)


class Site(Place):
    """An institution with a table of its own, and a study file that only it takes part in."""

    def __init__(self, folder: Path, table: pd.DataFrame | None = None, **policy: Any) -> None:
        super().__init__(folder, **policy)
        self.file = folder.parent / "study.toml"
        self.fill(rows() if table is None else table)

    def fill(self, table: pd.DataFrame) -> None:
        table.to_csv(self.folder / "table.csv", index=False)

    def visits(self, name: str = "first", expires: date | None = None, serial: int = 1, epsilon: float = 1.0) -> Study:
        return replace(self.study(name, serial, epsilon), schema=SCHEMA, expires=expires)

    def written(self, study: Study, signed: bool = True) -> Path:
        self.file.write_text(dumps_study(study))
        (self.folder.parent / "schema.toml").write_text(dumps_schema(study.schema))
        if signed:
            write_signature(self.file, study, "north", consent.sign(study, "north", self.institution.identity.key))
        return self.file

    def lines(self, study: Study | None = None) -> dict[str, Check]:
        """Of the check what is about studies, the clock and the ledger, by the end of each line's name."""
        if study is not None:
            self.written(study)
        found = preflight(self.folder, None if study is None else self.file)
        return {c.name.rpartition(": ")[2]: c for c in found if c.name not in ("relay", "rights", "disk", "memory")}

    def cli(self, *words: object) -> Result:
        return CliRunner().invoke(build(), [str(w) for w in words])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "n")


def failing(found: dict[str, Check]) -> dict[str, str]:
    return {name: c.found.partition(":")[0] for name, c in found.items() if not c.passed}


def warning(found: dict[str, Check]) -> set[str]:
    return {name for name, c in found.items() if c.warning and c.passed}


# Rows


def test_a_table_that_fits_is_neither_a_warning_nor_a_failure(site: Site) -> None:
    found = site.lines(site.visits())
    assert (failing(found), warning(found)) == ({}, set())
    assert found["table"].found.startswith("400 rows of 400 persons fit the schema, 0 rows do not")


def test_a_table_of_which_no_row_fits_is_a_failure_that_names_the_column(site: Site) -> None:
    """A column had become boolean in the database."""
    site.fill(rows(sex=[True, False] * (ROWS // 2)))
    found = site.lines(site.visits())
    assert failing(found) == {"table": "E_MISFIT"}
    assert "none of its 400 rows fits the schema (stays on this screen)" in found["table"].found
    column = found["column 'sex'"]
    assert (
        column.warning
        and "400 cells of undeclared categories" in column.found
        and "Declare the categories" in column.fix
    )
    result = site.cli("institution", "check", site.folder, "--study", site.file)
    assert result.exit_code == 1
    assert "FAIL study 'first', serial 1: table: E_MISFIT" in result.output
    assert "warn study 'first', serial 1: column 'sex'" in result.output


def test_a_table_without_rows_is_a_failure_too(site: Site) -> None:
    site.fill(rows(0))
    found = site.lines(site.visits())
    assert failing(found) == {"table": "E_MISFIT"} and "the table has no row" in found["table"].found


def test_rows_that_do_not_fit_are_a_warning_with_the_reason_for_each_column(site: Site) -> None:
    site.fill(rows(sex=["f", "x", "", "m"] * (ROWS // 4), smokes=[True, "often"] * (ROWS // 2)))
    found = site.lines(site.visits())
    assert failing(found) == {} and warning(found) == {"table", "column 'sex'", "column 'smokes'"}
    assert "200 rows do not" in found["table"].found
    assert "100 cells empty, 100 cells of undeclared categories" in found["column 'sex'"].found
    assert "200 cells not readable" in found["column 'smokes'"].found
    assert (
        site.cli("institution", "check", site.folder, "--study", site.file, "--json").output.count('"warning": true')
        == 3
    )


def test_a_column_that_no_row_has_a_value_of_is_a_warning_though_all_rows_fit(site: Site) -> None:
    site.fill(rows(smokes=""))
    found = site.lines(site.visits())
    assert failing(found) == {} and warning(found) == {"column 'smokes'"}
    assert "no row has a value of it" in found["column 'smokes'"].found


def test_what_leaves_is_the_same_function_of_the_rows_that_fit(site: Site) -> None:
    """However few: an answer from none is as long as one from all, and charged the same; nothing else is revealed by it."""
    whole, none = site.visits("whole"), site.visits("none")
    site.sign(whole)
    site.sign(none)
    sent = site.ask(whole)
    site.fill(rows(sex=[True, False] * (ROWS // 2)))
    reported = site.ask(none)
    width = plan(whole).phase(0).query.width
    for data in (sent, reported):
        assert isinstance(wire.decode_answer(data, width), wire.Answer)
    assert abs(len(sent) - len(reported)) < 32  # digests of other studies
    with site.institution.ledger() as ledger:
        assert len({c.events for c in ledger.charges()}) == 1


def test_a_preview_reports_that_no_row_fits(site: Site) -> None:
    site.fill(rows(sex=[True, False] * (ROWS // 2)))
    lines = counted(site.institution, site.visits())
    assert lines[0] == "None of its 400 rows fits the schema (stays on this screen)."
    assert lines[1].startswith("column 'sex': no row has a value of it: 400 cells of undeclared categories.")


def test_a_schema_check_of_a_table_that_does_not_fit_at_all_fails(site: Site) -> None:
    site.fill(rows(sex=[True, False] * (ROWS // 2)))
    site.written(site.visits())
    said = ("schema", "check", site.folder.parent / "schema.toml", "--data", site.folder / "table.csv")
    result = site.cli(*said)
    assert (
        result.exit_code == 11 and "E_MISFIT" in result.output and "400 cells of undeclared categories" in result.output
    )
    result = site.cli(*said, "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["error"]["code"], document["data"]["left_out"]) == (11, "E_MISFIT", ROWS)
    site.fill(rows())
    assert site.cli(*said).exit_code == 0


def test_a_simulation_of_a_table_that_does_not_fit_at_all_charges_nothing(site: Site, home: Path) -> None:
    site.fill(rows(sex=[True, False] * (ROWS // 2)))
    site.written(site.visits())
    said = ("simulate", "--data", site.folder / "table.csv", "--schema", site.folder.parent / "schema.toml")
    result = site.cli(*said, "--institutions", 3, "--epsilon", 1, "--delta", 1e-6, "--out", site.folder.parent / "out")
    assert result.exit_code == 11 and "E_MISFIT" in result.output and "column 'sex'" in result.output, result.output
    assert not (site.folder.parent / "out").exists() and not list(home.rglob("*.sqlite"))


def test_serving_shows_on_a_terminal_how_rows_fit(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.fill(rows(sex=["f", True] * (ROWS // 2)))
    study = site.visits()
    assert fit_report.how_rows_fit(site.institution, study, Event())[0].startswith("200 of its 400 rows fit the schema")
    monkeypatch.setattr(fit_report, "on_a_terminal", lambda: True)
    reported = Event()

    def said(*lines: str) -> None:
        print_private(*lines)
        reported.set()

    monkeypatch.setattr(fit_report, "print_private", said)
    with fit_report.reporting_fit(site.institution, [study]):
        assert reported.wait(60)
    out = capsys.readouterr().err
    assert "study 'first': 200 of its 400 rows fit the schema (stays on this screen)." in out
    assert "study 'first': column 'sex': 200 cells of undeclared categories" in out


def test_serving_does_not_log_how_rows_fit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in JSON nor where standard error is collected; and no row is read for it."""
    monkeypatch.setattr(fit_report, "read_tables", lambda *_: pytest.fail("rows were read"))

    class Stream(StringIO):
        def __init__(self, terminal: bool) -> None:
            super().__init__()
            self.terminal = terminal

        def isatty(self) -> bool:
            return self.terminal

    for style, terminal in itertools.product((logs.Style.TEXT, logs.Style.JSON), (True, False)):
        monkeypatch.setattr(logs, "_set_up", style)
        monkeypatch.setattr(fit_report.sys, "stderr", Stream(terminal))
        assert fit_report.on_a_terminal() == (terminal and style is logs.Style.TEXT)
        if not fit_report.on_a_terminal():
            with fit_report.reporting_fit(site.institution, [site.visits()]):
                pass


# Once per study


def test_once_per_study_is_no_lack_of_budget(tmp_path: Path) -> None:
    site = Site(tmp_path / "n", epsilon_per_population=30.0)
    study = site.sign(site.visits())
    run = "ab" * 16
    site.answered(study, run)
    for checked in (site.lines(study), site.lines()):
        assert failing(checked) == {}
        assert checked["budget"].found.startswith(
            f"answered already, in run {run}; a second answer would need repeatable"
        )
    here = preview(site.institution, study)["here"]
    assert (
        here["refused"] is None and here["spent_afterwards"] == here["spent"] and "answered already" in here["budget"]
    )
    assert site.ask(study) == refusal("E_ANSWERED")
    site.answered(study, run)  # the same again is the same answer
    site.sign(study)  # a signature that was lost is made again
    other = site.visits("another")
    assert site.lines(other)["budget"].found == "the whole study can be paid for"


def test_what_is_left_of_a_run_is_what_is_yet_to_be_paid(tmp_path: Path) -> None:
    """A run that is under way needs no second budget; another run of it is refused as what it is."""
    site = Site(tmp_path / "n", epsilon_per_population=1.2)
    study = site.sign(replace(site.visits(), schema=TWO_ROUNDS))
    site.answered(study, "ab" * 16)
    reported = "1 of 2 rounds are answered, in run abababababababababababababababab; the others can be paid for"
    assert site.lines(study)["budget"].found == reported
    assert site.ask(study, "cd" * 16) == refusal("E_ANSWERED")
    site.policy(epsilon_per_population=0.5)
    assert failing(site.lines(study)) == {"budget": "E_BUDGET"}


def test_a_lack_of_budget_is_one_and_names_its_rule(tmp_path: Path) -> None:
    site = Site(tmp_path / "n", epsilon_per_population=1.2)
    first, second = site.sign(site.visits()), site.visits("second")
    site.answered(first)
    found = site.lines(second)
    assert failing(found) == {"budget": "E_BUDGET"}
    assert "epsilon_per_population in policy.toml" in found["budget"].fix
    result = site.cli("study", "sign", site.file, "--as", site.folder)
    assert result.exit_code == 13 and "E_BUDGET" in result.output  # nobody signs what would be refused
    assert site.lines(first)["budget"].passed  # it was answered: no cap matters any more
    assert preview(site.institution, second)["here"]["refused"].startswith("E_BUDGET")


def test_a_spent_budget_is_no_green_line(tmp_path: Path) -> None:
    site = Site(tmp_path / "n", epsilon_per_population=1.0)
    site.answered(site.sign(site.visits()))
    site.policy(epsilon_per_population=0.5)
    assert site.lines()["ledger"].warning and "nothing more can be answered" in site.lines()["ledger"].found


def test_a_study_that_may_be_repeated_says_whether_it_can(tmp_path: Path) -> None:
    site = Site(tmp_path / "n", epsilon_per_population=30.0, repeatable=True)
    study = site.sign(site.visits())
    site.answered(study)
    assert "a second answer can be paid for, too" in site.lines(study)["budget"].found
    site.policy(epsilon_per_population=1.2)
    line = site.lines(study)["budget"]
    assert line.passed and "a second answer could not be paid for: epsilon would come to" in line.found


# Days


def yesterday() -> date:
    return datetime.now(UTC).date() - timedelta(days=1)


def test_an_expired_study_is_refused_at_every_step(site: Site) -> None:
    """By the same words, each with a true next step; nothing is signed, made, asked or charged."""
    study = site.visits(expires=yesterday())
    site.written(study)
    result = site.cli("study", "sign", site.file, "--as", site.folder)
    assert result.exit_code == 12 and "E_EXPIRED" in result.output and "higher serial" in result.output
    assert failing(site.lines(study)) == {"policy": "E_EXPIRED"}
    assert preview(site.institution, study)["here"]["refused"].startswith("E_EXPIRED")
    result = site.cli(
        "coordinator", "run", site.file, "--connect", site.folder / "custodian.sock", "--out", site.folder / "out"
    )
    assert result.exit_code == 12 and "E_EXPIRED" in result.output and "resume" not in result.output
    assert not (site.file.parent / "runs").exists()
    assert "NOBODY ANSWERS IT" in site.cli("study", "show", site.file).output
    assert "NOBODY ANSWERS IT" in site.cli("study", "verify", site.file).output

    class Nobody:
        def exchange(self, request: bytes, timeout: float) -> list[bytes]:
            return pytest.fail("somebody was asked")

    with pytest.raises(StudyError, match="E_EXPIRED"):
        run_study(study, {}, Nobody(), BriefJournal())
    journal = FolderJournal.begin(site.folder / "runs", study, {}, 1, {"out": "out", "seed": 1, "connect": []})
    journal.close()
    result = site.cli("coordinator", "resume", journal.folder)
    assert result.exit_code == 12 and "E_EXPIRED" in result.output and "go on with" not in result.output


def test_a_study_that_expires_after_it_was_signed_is_red_until_somebody_withdraws_it(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    study = site.visits(expires=yesterday())
    with clock(datetime.now(UTC) - timedelta(days=3)):
        site.sign(study)
        assert failing(site.lines()) == {}
    assert failing(site.lines()) == {"policy": "E_EXPIRED"}
    assert site.ask(study) == refusal("E_EXPIRED")
    with site.institution.ledger() as ledger:
        assert _answered(site.institution, ledger) == []
        assert "study 'first', serial 1 is not answered: E_EXPIRED" in capsys.readouterr().err
        withdraw(study.digest, ledger)
    found = site.lines()
    assert failing(found) == {} and "withdrawn here" in found["study 'first', serial 1"].found


def test_a_study_that_was_answered_before_it_expired_is_history(site: Site) -> None:
    study = site.visits(expires=yesterday())
    with clock(datetime.now(UTC) - timedelta(days=3)):
        site.answered(site.sign(study))
    found = site.lines()
    assert failing(found) == {} and "over: it was answered in run" in found["study 'first', serial 1"].found


def test_a_study_that_a_newer_one_replaced_is_history_and_not_unsigned(site: Site) -> None:
    old, new = site.sign(site.visits()), site.sign(site.visits(serial=2))
    found = site.lines()
    assert failing(found) == {} and "replaced here by a newer one" in found["study 'first', serial 1"].found
    assert found["policy"].found == "allowed, and signed here"
    assert failing(site.lines(old)) == {"policy": "E_PLAN_UNTRUSTED"} and failing(site.lines(new)) == {}


def test_a_run_that_no_waiting_mends_does_not_say_that_it_can_be_resumed(site: Site) -> None:
    study = site.visits()

    class Refusing:
        def __init__(self, code: str) -> None:
            self.code = code

        def exchange(self, request: bytes, timeout: float) -> list[bytes]:
            return [refusal(self.code)]

    for code in ("E_EXPIRED", "E_RESTORED", "E_ANSWERED"):
        with pytest.raises(FederationError, match=rf"{code}: round 0: refused by north \({code}\)") as caught:
            run_study(study, {"north": ""}, Refusing(code), BriefJournal())
        assert "can be resumed" not in caught.value.fix and "higher serial" in caught.value.fix
    with pytest.raises(FederationError, match=r"E_INSTITUTION_REFUSED.*E_APPROVAL.*can be resumed"):
        run_study(study, {"north": ""}, Refusing("E_APPROVAL"), BriefJournal())


def test_a_study_that_was_signed_once_is_not_called_unsigned(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    old, new = site.sign(site.visits()), site.sign(site.visits(serial=2))
    with site.institution.ledger() as ledger:
        withdraw(new.digest, ledger)
    for study, reported in ((old, "a newer study of this name was signed here"), (new, "the study was withdrawn here")):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert site.ask(study) == refusal("E_PLAN_UNTRUSTED")
        assert reported in caplog.text


# A clock that was wrong


@pytest.fixture
def ahead(site: Site) -> Iterator[Site]:
    """A study was signed when the clock ran 600 days ahead. It is day 10 again."""
    with clock(day(600)):
        site.sign(site.visits("of the future"))
    with clock(day(10)):
        yield site


def test_a_clock_that_once_ran_ahead_has_a_way_out(ahead: Site) -> None:
    wanted = ahead.visits("wanted", expires=day(30).date())
    with pytest.raises(StudyError, match=r"E_EXPIRED.*the ledger has an entry of .* run cohortium ledger amend-clock"):
        ahead.sign(wanted)
    found = ahead.lines(wanted)
    assert failing(found) == {"clock": "E_CLOCK", "policy": "E_EXPIRED"}
    assert (
        "Set the machine's clock. If it is right, it was wrong once: run cohortium ledger amend-clock"
        in found["clock"].fix
    )
    result = ahead.cli("ledger", "amend-clock", "--institution", ahead.folder, "--today", day(10).date())
    assert result.exit_code == 0 and "What is spent stays spent" in result.output, result.output
    assert failing(ahead.lines(wanted)) == {}
    ahead.answered(ahead.sign(wanted))
    ahead.answered(ahead.visits("of the future"))  # it never expires
    assert ahead.cli("ledger", "verify", "--ledger", ahead.path).exit_code == 0
    lines = [json.loads(line) for line in ahead.cli("ledger", "export", "--ledger", ahead.path).stdout.splitlines()]
    (amended,) = [line for line in lines if line["kind"] == "amendment"]
    assert amended["record"]["key"] == ahead.institution.identity.public


def test_a_clock_is_amended_only_by_who_knows_what_day_it_is(ahead: Site) -> None:
    for wrong in (day(9), day(11), day(600)):
        with pytest.raises(LedgerError, match="E_CLOCK"):
            amend_clock(ahead.institution, wrong.date())
    assert amend_clock(ahead.institution, day(10).date()).entries == (1,)
    with pytest.raises(LedgerError, match=r"E_CLOCK.*Nothing needs to be amended"):
        amend_clock(ahead.institution, day(10).date())


@pytest.fixture
def expired(site: Site) -> tuple[Site, Study]:
    """A study that has truly expired, and a ledger that knows it: an entry was made after its last day."""
    study = site.visits("old", expires=day(30).date())
    with clock(day(20)):
        site.sign(study)
        site.answered(study, "ab" * 16)
    with clock(day(40)):
        site.sign(site.visits("newer"))
    return site, study


def test_a_clock_that_is_set_back_and_amended_opens_no_expired_study(expired: tuple[Site, Study]) -> None:
    site, study = expired
    spent = site.spent()
    with clock(day(25)):
        assert site.ask(study) == refusal("E_EXPIRED")
        done = amend_clock(site.institution, day(25).date())
        assert done.ended == (study.digest,)
        for again in ("ab" * 16, "cd" * 16):
            assert site.ask(study, again) == refusal("E_EXPIRED")
        with pytest.raises(StudyError, match=r"E_EXPIRED.*takes nothing back"):
            site.sign(study)
        assert failing(site.lines(study)) == {"policy": "E_EXPIRED"}
        assert site.spent() == spent > 0
        site.answered(site.sign(site.visits("old", expires=day(30).date(), serial=2)))  # another study, charged anew
        assert site.spent() > spent


def test_a_study_that_was_put_aside_meanwhile_has_ended_all_the_same(expired: tuple[Site, Study]) -> None:
    site, study = expired
    kept = site.folder / "studies" / study.digest
    with clock(day(25)):
        shutil.move(kept, site.folder / "aside")
        amend_clock(site.institution, day(25).date())
        shutil.move(site.folder / "aside", kept)
        assert site.ask(study) == refusal("E_EXPIRED")


def test_a_budget_does_not_come_back_by_any_clock(tmp_path: Path) -> None:
    site = Site(tmp_path / "n", epsilon_per_population=1.2)
    with clock(day(600)):
        site.answered(site.sign(site.visits()))
    with clock(day(10)):
        amend_clock(site.institution, day(10).date())
        opened = site.institution
        with opened.ledger() as ledger, pytest.raises(BudgetError, match="E_BUDGET"):
            agree(site.visits("b"), opened.identity, opened.policy, ledger, opened.agreements, "patients")
        assert site.ask(site.sign(site.visits("b"))) == refusal("E_BUDGET")
        assert site.ask(site.visits()) == refusal("E_ANSWERED")


def test_an_amended_ledger_is_backed_up_and_restored_as_any_other(ahead: Site) -> None:
    amend_clock(ahead.institution, day(10).date())
    backup = ahead.back_up()
    with ahead.institution.ledger() as ledger:
        ledger.record(Approval("ab" * 32, "cd" * 16))
    ahead.lose()
    ahead.restore(backup)
    with ahead.institution.ledger() as ledger:
        assert ledger.latest == day(10) and ledger.verify() == 3
    assert ahead.ask(ahead.visits("of the future")) == refusal("E_RESTORED")


def test_a_clock_that_is_behind_its_ledger_is_reported_when_serving_starts(
    ahead: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), ahead.institution.ledger() as ledger:
        answered = _answered(ahead.institution, ledger)
    assert [s.name for s in answered] == ["of the future"]
