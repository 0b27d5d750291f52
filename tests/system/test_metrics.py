"""What can be watched: counted rightly, served on this machine, written whole, and nothing in it that comes from rows."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from enlisted import agree, custodian, key_of, refusal, request, with_keys
from enrolment import admitted, joined, written
from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cohortium.data.columns import Boolean
from cohortium.data.encoding import Codes, encode
from cohortium.data.schema import Schema
from cohortium.errors import CODES, CohortiumError, FederationError, InputError
from cohortium.federation import wire
from cohortium.federation.probe import ask
from cohortium.ledger.store import Ledger
from cohortium.study import consent
from cohortium.study.generators import Sweep
from cohortium.study.study import Institution as Named
from cohortium.study.study import Privacy, Study
from cohortium.system import metrics
from cohortium.system.address import Address, parse_address
from cohortium_client.custodian.agreements import agree as sign
from cohortium_client.custodian.agreements import withdraw
from cohortium_client.custodian.institution import Institution, init_institution
from cohortium_client.custodian.policy import Policy
from cohortium_client.metrics import Account, Counting, metrics_address, watched
from cohortium_server import desired_state
from cohortium_server.membership import presence
from cohortium_server.membership.federation import Federation, load_federation
from cohortium_server.membership.members import revoke
from cohortium_server.membership.provisioning import provision
from cohortium_server.metrics import NEWEST, RESTARTS, Watch, metrics_served
from cohortium_server.rounds.folder_journal import FolderJournal

CANARY = "SECRET-CANARY-4711"
STUDY = Study(
    name="clinics",
    schema=Schema(columns=(Boolean(name=CANARY, nullable=True), Boolean(name="b", nullable=True))),
    privacy=Privacy(epsilon=2.0, delta=1e-6),
    generator=Sweep(components=10),
    institutions=with_keys("north", "south"),
)
DOCS = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def codes(study: Study, rows: int = 20) -> Codes:
    return encode(pd.DataFrame({CANARY: [True, False] * (rows // 2), "b": [False, None] * (rows // 2)}), study.schema)


def samples(text: str) -> Samples:
    """Every sample of a page, by its name and labels."""
    found = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return {(s.name, frozenset(s.labels.items())): s.value for s in found}


def page(reported: list[Metric]) -> Samples:
    return samples(generate_latest(metrics._registry(lambda: reported)).decode())


def value(of: Samples, name: str, **labels: str) -> float | None:
    return of.get((name, frozenset(labels.items())))


def got(address: Address, path: str = "/metrics") -> str:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=10)
    connection.request("GET", path)
    text: str = connection.getresponse().read().decode()
    connection.close()
    return text


@pytest.fixture
def free() -> Address:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Address("127.0.0.1", probe.getsockname()[1])


@pytest.fixture
def north(tmp_path: Path) -> Institution:
    folder = tmp_path / "north"
    folder.mkdir()
    codes_table = pd.DataFrame({CANARY: [True, False], "b": [False, None]})
    codes_table.to_csv(folder / "table.csv", index=False)
    policy = {"epsilon_per_population": 10.0, "delta": 1e-6}
    return init_institution(folder, "north", {"path": "table.csv"}, "patients", policy)


def own_study(north: Institution, **changes: Any) -> Study:
    named = (Named(name="north", key=north.identity.public), *with_keys("south"))
    return replace(STUDY, institutions=named, **changes)


# An institution's


def test_answers_and_refusals_are_counted_by_what_was_sent(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        agree(ledger, STUDY)
        behind = Counting(custodian(ledger, codes, STUDY, policy=Policy(epsilon_per_population=3.0)))
        assert isinstance(wire.decode_bundle(behind.answer(request(STUDY))), list)
        behind.answer(request(STUDY))  # the same again is an answer, too
        assert behind.answer(request(STUDY, run="cd" * 16)) == refusal("E_ANSWERED")
        behind.answer(wire.encode_bundle([request(STUDY), request(STUDY, round=7), b"none"]))
        assert behind.answer(b"") == refusal("E_WIRE")
    reported = page(behind.metrics())
    assert value(reported, "cohortium_custodian_answers_total") == 3
    refusals = {code: value(reported, "cohortium_custodian_refusals_total", code=code) for code in CODES}
    assert {k: v for k, v in refusals.items() if v} == {"E_ANSWERED": 1, "E_ROUND_ORDER": 1, "E_WIRE": 2}
    assert set(refusals.values()) == {0, 1, 2}


@pytest.mark.parametrize("what", [ValueError(CANARY), b"no message", wire.MAGIC])
def test_what_the_service_makes_a_failure_of_is_counted_as_one(what: Any) -> None:
    class Odd:
        def answer(self, _: bytes) -> bytes:
            if isinstance(what, Exception):
                raise what
            reported: bytes = what
            return reported

    counting = Counting(Odd())
    if isinstance(what, Exception):
        with pytest.raises(ValueError, match=CANARY):
            counting.answer(b"")
    else:
        assert counting.answer(b"") == what
    reported = page(counting.metrics())
    assert value(reported, "cohortium_custodian_refusals_total", code="E_CUSTODIAN") == 1
    assert value(reported, "cohortium_custodian_answers_total") == 0


def test_an_account_follows_the_ledger(north: Institution) -> None:
    account, study = Account(north), own_study(north)
    before = page(account.metrics())
    assert value(before, "cohortium_ledger_sound") == 1
    assert value(before, "cohortium_custodian_studies_signed") == 0
    assert value(before, "cohortium_ledger_epsilon_spent", population="patients") == 0
    assert value(before, "cohortium_ledger_epsilon_cap", population="patients") == 10
    assert value(before, "cohortium_ledger_delta", population="patients") == 1e-6
    with north.ledger() as ledger:
        sign(study, north.identity, north.policy, ledger, north.agreements)
        assert value(page(account.metrics()), "cohortium_custodian_studies_signed") == 1
        north.custodian(ledger).answer(_signed(north, study))
        spent = ledger.spent("patients", 1e-6).epsilon
        assert value(page(account.metrics()), "cohortium_ledger_epsilon_spent", population="patients") == spent > 1
        withdraw(study.digest, ledger)
    assert value(page(account.metrics()), "cohortium_custodian_studies_signed") == 0
    account.close()


def _signed(north: Institution, study: Study, run: str = "ab" * 16) -> bytes:
    signatures = {
        "north": consent.sign(study, "north", north.identity.key),
        "south": consent.sign(study, "south", key_of("south")),
    }
    return wire.encode_request(wire.Request(study.digest, run, 0, 0, b"", signatures))


def test_a_ledger_that_cannot_be_trusted_is_reported_and_none_of_its_contents(north: Institution) -> None:
    study = own_study(north)
    with north.ledger() as ledger:
        sign(study, north.identity, north.policy, ledger, north.agreements)
    for file in north.folder.glob("ledger.sqlite*"):
        if file.suffix != ".head":
            file.unlink()
    account = Account(north)
    assert page(account.metrics()) == {("cohortium_ledger_sound", frozenset()): 0}
    (north.folder / "ledger.sqlite.head").unlink()  # put right by whoever may: it is noticed without a restart
    assert value(page(account.metrics()), "cohortium_ledger_sound") == 1
    account.close()


def test_it_is_served_on_this_machine_with_every_metric_of_the_docs(north: Institution, free: Address) -> None:
    study = own_study(north)
    with north.ledger().hold() as ledger:
        sign(study, north.identity, north.policy, ledger, north.agreements)
        with watched(north, north.custodian(ledger), free) as behind:
            behind.answer(_signed(north, study))
            text = got(free)
    with pytest.raises(OSError, match="refused"):
        got(free)
    reported = samples(text)
    assert {name for name, _ in reported} == documented("An institution")
    assert value(reported, "cohortium_custodian_up") == value(reported, "cohortium_custodian_answers_total") == 1
    assert CANARY not in text  # it is a column's name
    assert "process_" not in text and "python_" not in text


def documented(heading: str) -> set[str]:
    """The metrics of the table below a heading of the docs."""
    table = DOCS.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return {line.split("`")[1] for line in table.splitlines() if line.startswith("| `cohortium_")}


def test_the_page_is_the_same_for_tables_of_any_size(tmp_path: Path) -> None:
    reported = []
    for rows in (2, 4712):
        with Ledger(tmp_path / f"{rows}.sqlite") as ledger:
            agree(ledger, STUDY)
            counting = Counting(custodian(ledger, lambda study, rows=rows: codes(study, rows), STUDY))
            counting.answer(request(STUDY))
            reported.append(page(counting.metrics()))
    assert reported[0] == reported[1]


def test_a_file_is_written_now_again_and_at_the_end(
    north: Institution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cohortium_client.metrics.written", lambda taken, path: metrics.written(taken, path, 0.02))
    path = tmp_path / "cohortium.prom"
    with north.ledger().hold() as ledger, watched(north, north.custodian(ledger), file=path) as behind:
        assert value(samples(path.read_text()), "cohortium_custodian_answers_total") == 0
        behind.answer(b"")
        end = time.monotonic() + 60
        while not value(samples(path.read_text()), "cohortium_custodian_refusals_total", code="E_WIRE"):
            assert time.monotonic() < end
            time.sleep(0.01)
        assert value(samples(path.read_text()), "cohortium_custodian_up") == 1
    assert value(samples(path.read_text()), "cohortium_custodian_up") == 0
    assert path.stat().st_mode & 0o777 == 0o644  # node_exporter is another user
    assert [p.name for p in tmp_path.glob("*prom*")] == ["cohortium.prom"]


def test_a_file_that_cannot_be_written_is_reported_at_once(north: Institution, tmp_path: Path) -> None:
    with (
        north.ledger() as ledger,
        pytest.raises(FileNotFoundError),
        watched(north, north.custodian(ledger), file=tmp_path / "nowhere" / "x.prom"),
    ):
        pass


def test_without_being_asked_nothing_is_counted_or_served(north: Institution) -> None:
    with north.ledger() as ledger:
        behind = north.custodian(ledger)
        with watched(north, behind) as same:
            assert same is behind


@pytest.mark.parametrize("text", ["127.0.0.1:9465", "127.9.9.9:1", "[::1]:9465", "localhost:9465"])
def test_this_machine_is_where_metrics_are_served(text: str) -> None:
    assert metrics_address(text) == parse_address(text)


@pytest.mark.parametrize("text", ["0.0.0.0:9465", "[::]:9465", "10.0.0.5:9465", "metrics.example.org:9465"])
def test_elsewhere_only_where_somebody_has_decided_so(text: str) -> None:
    with pytest.raises(InputError, match=r"E_METRICS.*--metrics-anywhere"):
        metrics_address(text)
    assert metrics_address(text, anywhere=True) == parse_address(text)


@pytest.mark.parametrize("text", ["9465", "localhost", "127.0.0.1:0", ""])
def test_what_is_no_address_is_reported(text: str) -> None:
    with pytest.raises(InputError, match="E_METRICS"):
        metrics_address(text)


def test_an_address_in_use_is_reported(north: Institution) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = Address("127.0.0.1", taken.getsockname()[1])
        with north.ledger() as ledger:
            behind = north.custodian(ledger)
            with pytest.raises(InputError, match="E_METRICS"), watched(north, behind, address):
                pass


def test_what_fails_while_metrics_are_taken_is_not_quoted(
    free: Address, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def failing() -> list[Metric]:
        raise ValueError(CANARY)

    with metrics.served(failing, free):
        assert CANARY not in got(free)
    assert "ValueError" in caplog.text and CANARY not in caplog.text
    assert CANARY not in "".join(capsys.readouterr())


def test_who_keeps_silent_is_sent_away(free: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PATIENCE", 0.05)
    with metrics.served(list, free), socket.create_connection((free.host, free.port), 60) as silent:
        assert silent.recv(1) == b""


# The coordinator's


@pytest.fixture
def fed(tmp_path: Path, free: Address) -> Federation:
    names = ("north", "south", "west")
    return provision(written(tmp_path, *names, metrics=str(free)), tmp_path / "fed").federation


def run_of(fed: Federation, **settings: Any) -> FolderJournal:
    journal = FolderJournal.begin(fed.runs, STUDY, {}, 1, {"out": str(fed.folder / "release"), "seed": 1, **settings})
    journal.close()
    return journal


def test_metrics_show_a_federation_as_its_folder_has_it(fed: Federation) -> None:
    for name in ("north", "south"):
        admitted(fed, joined(fed, name))
    revoke(fed, "south")
    (fed.state / RESTARTS).write_text('{"executor":0,"link":3}')
    reported = page(Watch(fed).metrics())
    states = {s: value(reported, "cohortium_coordinator_members", state=s) for s in ("invited", "admitted", "revoked")}
    assert states == {"invited": 1, "admitted": 1, "revoked": 1}
    assert value(reported, "cohortium_coordinator_process_restarts_total", process="link") == 3
    assert value(reported, "cohortium_coordinator_up") == 0
    name = "cohortium_coordinator_certificate_expiry_timestamp_seconds"
    until = datetime.now(UTC) + timedelta(days=397)
    assert abs((value(reported, name, certificate="server") or 0) - until.timestamp()) < 3600
    assert (value(reported, name, certificate="root") or 0) > until.timestamp()
    assert not [n for n, _ in reported if n == "cohortium_coordinator_member_online"]  # nobody knows


def test_who_is_online_is_reported_while_it_is_up(fed: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("north", "south"):
        admitted(fed, joined(fed, name))
    (fed.state / presence.ONLINE).write_text('{"north":true,"south":false}')
    monkeypatch.setattr("cohortium_server.metrics.answers_at", lambda *_: True)
    lock = presence.hold(fed.state)
    assert lock is not None
    reported = page(Watch(fed).metrics())
    there = {
        n: value(reported, "cohortium_coordinator_member_online", institution=n) for n in ("north", "south", "west")
    }
    assert there == {"north": 1, "south": 0, "west": None}
    assert value(reported, "cohortium_coordinator_up") == 1
    os.close(lock)


def test_runs_are_reported_from_their_journals(fed: Federation) -> None:
    journal, watch = run_of(fed), Watch(fed)
    labels = {"study": "clinics", "run": journal.run}
    reported = page(watch.metrics())
    assert value(reported, "cohortium_run_rounds", **labels) == 1
    assert (
        value(reported, "cohortium_run_rounds_done", **labels)
        == value(reported, "cohortium_run_released", **labels)
        == 0
    )
    assert abs((value(reported, "cohortium_run_changed_timestamp_seconds", **labels) or 0) - time.time()) < 60
    desired_state.give(journal.folder, "go")
    desired_state.end(journal.folder, FederationError("E_MISSING_INSTITUTION", "north", CANARY, CANARY))
    (journal.folder / "0000.sum").write_bytes(b"")
    (fed.folder / "release").mkdir()
    (fed.folder / "release" / "manifest.json").write_text(json.dumps({"run": journal.run}))
    reported = page(watch.metrics())
    assert (
        value(reported, "cohortium_run_rounds_done", **labels)
        == value(reported, "cohortium_run_released", **labels)
        == 1
    )
    assert value(reported, "cohortium_run_failed", **labels, code="E_MISSING_INSTITUTION") == 1
    desired_state.give(journal.folder, "go")  # resumed
    assert not [n for n, _ in page(watch.metrics()) if n == "cohortium_run_failed"]


def test_the_newest_runs_are_reported_and_what_is_none_is_left_out(fed: Federation) -> None:
    first = run_of(fed).folder
    for _ in range(NEWEST):
        run_of(fed)
    os.utime(first / "run.json", (1, 1))
    (fed.runs / "odd").mkdir()
    (fed.runs / "odd" / "run.json").write_text("{}")
    reported = [dict(labels)["run"] for name, labels in page(Watch(fed).metrics()) if name == "cohortium_run_rounds"]
    assert len(reported) == NEWEST - 1 and first.name not in reported


def test_the_coordinators_are_served_where_its_file_says(fed: Federation, free: Address) -> None:
    admitted(fed, joined(fed, "north"))
    run_of(fed)
    (fed.state / RESTARTS).write_text('{"link":3}')
    with metrics_served(load_federation(fed.folder)):
        text = got(free)
    absent = {"cohortium_coordinator_member_online", "cohortium_run_failed"}  # nothing is online, nothing has failed
    assert {name for name, _ in samples(text)} == documented("The coordinator") - absent
    assert "process_cpu" not in text and "python_" not in text


def test_who_watches_does_not_stop_what_is_watched(
    fed: Federation, free: Address, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind((free.host, free.port))
        taken.listen()
        with metrics_served(fed):
            assert "E_METRICS" in caplog.text


def test_no_metrics_are_served_without_an_address(tmp_path: Path) -> None:
    quiet = provision(written(tmp_path), tmp_path / "fed").federation
    with metrics_served(quiet):
        assert quiet.metrics is None


# What answers at an address


def test_nobody_answers(fed: Federation, free: Address) -> None:
    with pytest.raises(CohortiumError, match="E_LINK"):
        ask(free, "/", fed.root_certificate)
