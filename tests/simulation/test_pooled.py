"""Simulations of many institutions: the same sums, noise and charges as under masks, one file of ledgers, and it is said."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from console import call, call_json
from enlisted import consents, with_keys

from cohortium.data.columns import Boolean, Categorical
from cohortium.data.encoding import Codes
from cohortium.data.schema import Schema
from cohortium.errors import BudgetError, CohortiumError, FederationError, LedgerError, StudyError
from cohortium.federation import wire
from cohortium.ledger.caps import Cap
from cohortium.ledger.records import GENESIS, Charge, Consent
from cohortium.ledger.shelf import FILE, Shelf
from cohortium.ledger.store import Ledger
from cohortium.masking.statements import encode_board
from cohortium.privacy.discrete_gaussian import Noised
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries.marginals import Marginals
from cohortium.study.generators import Sweep
from cohortium.study.guarantee import guarantees
from cohortium.study.plan import charged_in_all, plan, ring
from cohortium.study.study import Privacy, Study
from cohortium.study.wording import UNMASKED
from cohortium.system import failpoints
from cohortium_client.custodian.custodian import Holding
from cohortium_client.custodian.policy import Policy
from cohortium_server.generators.counted import CountedGenerator
from cohortium_server.release import load_release, write_release
from cohortium_server.rounds.journal import BriefJournal
from cohortium_server.rounds.rounds import Outcome, run_study
from cohortium_server.rounds.transport import Nobody
from cohortium_simulation import experiment, holdings, pooled
from cohortium_simulation.experiment import Ledgers, Simulated, run, sign_all
from cohortium_simulation.partition import numbered
from cohortium_simulation.pooled import MASKED_UP_TO, Pool, PooledCustodian

MANY = MASKED_UP_TO + 4
SCHEMA = Schema(name="many", columns=(Categorical(name="a", categories=("x", "y", "z")), Boolean(name="b")))
PROMISE = {"epsilon": 2.0, "delta": 1e-6, "trust": "secure-sum"}


class StoppedError(BaseException):
    """The process ends."""


@pytest.fixture
def unfitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of institutions is looked at here, and no fit."""
    monkeypatch.setattr(CountedGenerator, "_fit_measured", lambda *_: None)


@pytest.fixture
def ledgers(tmp_path: Path) -> Ledgers:
    return Ledgers(tmp_path / "ledgers", "people")


def study_of(size: int, **privacy: Any) -> Study:
    institutions = tuple(with_keys(*numbered(size)))
    return Study(
        name="many",
        schema=SCHEMA,
        privacy=Privacy(**(PROMISE | privacy)),
        generator=Sweep(components=10),
        institutions=institutions,
    )


def tables_of(size: int) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(0)
    made = {"a": lambda: rng.choice(["x", "y", "z"], 60), "b": lambda: rng.choice([True, False], 60)}
    return {name: pd.DataFrame({c: draw() for c, draw in made.items()}) for name in numbered(size)}


def simulated(size: int, ledgers: Ledgers, progress: Any = None, **privacy: Any) -> Outcome:
    return run(study_of(size, **privacy), tables_of(size), ledgers, 0, progress)


def charges(folder: Path) -> dict[str, int]:
    """How many answers every institution of a folder has been charged with, wherever its ledger is."""
    reported = call_json("ledger", "show", "--ledger", folder)["ledgers"]
    counted = Counter({a["ledger"]: a["answers"] for a in reported})  # type: ignore[attr-defined]
    assert len(counted) == len(reported), "an institution has two ledgers"  # type: ignore[arg-type]
    return dict(counted)


@contextmanager
def pool_of(study: Study, folder: Path) -> Iterator[tuple[Study, dict[str, str], list[PooledCustodian], Shelf]]:
    """Custodians as ``run`` makes them, and what they have signed."""
    tables = tables_of(len(study.institutions))
    with ExitStack() as stack:
        shelf = stack.enter_context(Shelf(folder / FILE))
        shelf.enrol(study.institution_names)
        made = [Simulated(n, shelf.ledger(n), "people") for n in study.institution_names]
        signed, signatures = sign_all(study, [i.identity for i in made])
        codes = experiment.encode_all(signed, tables)
        custodians = [i.custodian(signed, codes[i.name], PooledCustodian) for i in made]
        for institution in made:
            institution.agree(signed)
        yield signed, signatures, custodians, shelf  # type: ignore[misc]


# What is added up


def test_the_sum_is_of_what_every_institution_drew(
    ledgers: Ledgers, unfitted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answers once, with the plan's share of the noise, from secure randomness of its own, and nothing else is added."""
    drawn: list[tuple[Codes, float, object, np.ndarray]] = []
    whole = Marginals.answer

    def answer(self: Marginals, codes: Codes, multiplier: float, randomness: Any) -> Noised:
        noised = whole(self, codes, multiplier, randomness)
        drawn.append((codes, multiplier, randomness, noised.values))
        return noised

    monkeypatch.setattr(Marginals, "answer", answer)
    outcome = simulated(MANY, ledgers)
    (phase,) = outcome.plan.phases
    assert len(drawn) == MANY == len({id(codes) for codes, *_ in drawn})
    assert {multiplier for _, multiplier, *_ in drawn} == {phase.multiplier}
    assert all(type(randomness) is SecureRandomness for _, _, randomness, _ in drawn)
    assert len({id(randomness) for _, _, randomness, _ in drawn}) == MANY
    counts = np.concatenate([m.counts.ravel() for m in outcome.generator.measured])
    assert (counts * phase.query.grid == sum(values for *_, values in drawn)).all()
    assert outcome.plan == plan(outcome.study) == outcome.spent


def test_it_costs_what_the_masked_study_costs(ledgers: Ledgers, unfitted: None) -> None:
    """The same plan and the same charges: towards the coordinator, and towards one who knows all others' answers."""
    outcome = simulated(MANY, ledgers, colluders=3)
    assert not outcome.masked and outcome.study.honest == MANY - 3
    (phase,) = plan(outcome.study).phases
    with Shelf(ledgers.folder / FILE) as shelf:
        for name in numbered(MANY):
            (charge,) = shelf.ledger(name).charges("people")
            assert charge.events == charged_in_all(outcome.study) and charge.bare == phase.collusion_events
    numbers = [(g.adversary, g.cost, g.attack_rate) for g in guarantees(outcome.study, outcome.spent, masked=False)]
    assert numbers == [(g.adversary, g.cost, g.attack_rate) for g in guarantees(outcome.study, outcome.spent)]


@pytest.mark.parametrize("trust", ["secure-sum", "local"])
def test_few_run_the_deployments_own_protocol(ledgers: Ledgers, unfitted: None, trust: str) -> None:
    few, many = simulated(3, ledgers, trust=trust), simulated(MANY, ledgers, trust=trust)
    assert few.masked and many.masked == (trust == "local")
    assert few.kind == many.kind == "simulation"


# Who may leave masks out


def test_a_federation_is_never_asked_without_masks(unfitted: None) -> None:
    for simulated_here, study in ((True, study_of(3)), (False, replace(study_of(3), simulated=True))):
        with pytest.raises(CohortiumError) as caught:
            run_study(study, {}, Nobody(), BriefJournal(), simulated=simulated_here, masked=False)
        assert caught.value.code == "E_PLAN_PRIVACY"


def test_a_custodian_answers_nothing_without_a_board_of_keys(tmp_path: Path) -> None:
    """A deployed one, asked as a pool is: it refuses before it draws or charges anything."""
    with pool_of(study_of(3), tmp_path) as (signed, signatures, custodians, shelf):
        one = custodians[0]
        deployed = Simulated(one.identity.name, shelf.ledger(one.identity.name), "people")
        honest = deployed.custodian(signed, experiment.encode_all(signed, tables_of(3))[one.identity.name])
        for board in (b"", encode_board(())):
            asked = wire.Request(signed.digest, "ab" * 16, 0, 0, b"", signatures, (), "mask", board)
            refusal = wire.refused(honest.answer(wire.encode_request(asked)))
            assert refusal is not None and refusal.code in ("E_WIRE", "E_COHORT", "E_KEYS")
        assert not shelf.ledger(one.identity.name).charges()


def test_a_pooled_custodian_answers_no_federations_study(tmp_path: Path) -> None:
    study = study_of(3)
    with Shelf(tmp_path / FILE) as shelf:
        from enlisted import identity

        name = study.institution_names[0]
        shelf.enrol([name])
        ledger = shelf.ledger(name)
        ledger.record(Consent(study.digest, study.name, study.serial))
        (codes, *_) = experiment.encode_all(study, tables_of(3)).values()
        holding = Holding("people", lambda _: codes, ledger)
        custodian = PooledCustodian(identity(name), {study.digest: study}, holding, Policy(repeatable=True))
        asked = wire.Request(study.digest, "ab" * 16, 0, 0, b"", consents(study), (), "mask")
        reported = custodian.draft(asked, ())
        assert isinstance(reported, bytes) and wire.refused(reported) == wire.Refusal(name, "E_PLAN_UNTRUSTED")
        assert not ledger.charges()


def test_signatures_are_verified_before_anybody_answers(tmp_path: Path) -> None:
    with pool_of(study_of(3), tmp_path) as (signed, signatures, custodians, shelf):
        forged = {**signatures, signed.institution_names[1]: "00" * 64}
        asked = wire.Request(signed.digest, "ab" * 16, 0, 0, b"", forged, (), "mask")
        with pytest.raises(StudyError, match=signed.institution_names[1]):
            list(Pool(signed, custodians, shelf).exchange(wire.encode_request(asked), 1.0))
        assert not any(shelf.ledger(n).charges() for n in signed.institution_names)


# What is charged, and when


def test_nothing_is_sent_before_its_charge_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unfitted: None
) -> None:
    """Whoever receives an answer finds its charge in the file, as somebody else reads it at that moment."""
    monkeypatch.setattr(pooled, "BATCH", 2)
    with pool_of(study_of(5), tmp_path) as (signed, signatures, custodians, shelf):
        asked = wire.Request(signed.digest, "ab" * 16, 0, 0, b"", signatures, (), "mask")
        (phase,) = plan(signed).phases
        width, numbers, received = phase.query.width, ring(signed, phase).dtype, 0
        for data in Pool(signed, custodians, shelf).exchange(wire.encode_request(asked), 1.0):
            answer = wire.decode_answer(data, width, numbers)
            assert isinstance(answer, wire.Answer)
            with sqlite3.connect(tmp_path / FILE) as other:
                query = "SELECT count(*) FROM entry WHERE institution = ? AND hash = ? AND kind = 'charge'"
                assert other.execute(query, (answer.reply.institution, answer.receipt.head)).fetchone() == (1,)
            other.close()
            received += 1
        assert received == 5


@pytest.mark.parametrize(("place", "durable"), [("answer computed", 0), ("batch written", 0), ("batch committed", 1)])
def test_a_process_that_ends_has_sent_nothing_or_charged_all_of_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, durable: int
) -> None:
    reported: list[bytes] = []

    def reached(name: str) -> None:
        if name == place:
            raise StoppedError

    with pool_of(study_of(5), tmp_path) as (signed, signatures, custodians, shelf):
        asked = wire.encode_request(wire.Request(signed.digest, "ab" * 16, 0, 0, b"", signatures, (), "mask"))
        monkeypatch.setattr(failpoints, "reached", reached)
        with suppress(StoppedError):
            reported.extend(Pool(signed, custodians, shelf).exchange(asked, 1.0))
        monkeypatch.setattr(failpoints, "reached", None)
    assert not reported
    with Shelf(tmp_path / FILE) as again:
        again.verify()
        assert [len(again.ledger(n).charges()) for n in signed.institution_names] == [durable] * 5


def counted(ledger: Ledger) -> int | str:
    """Its charges, or why it cannot be read."""
    try:
        return len(ledger.charges())
    except LedgerError as error:
        return error.code


def test_a_disk_that_refuses_a_batch_makes_refusals_of_all_of_it(tmp_path: Path) -> None:
    with pool_of(study_of(5), tmp_path) as (signed, signatures, custodians, shelf):
        shelf.db.execute(
            "CREATE TRIGGER full BEFORE INSERT ON entry WHEN NEW.institution LIKE '%-03' BEGIN SELECT RAISE(ROLLBACK, 'full'); END"
        )
        asked = wire.Request(signed.digest, "ab" * 16, 0, 0, b"", signatures, (), "mask")
        reported = list(Pool(signed, custodians, shelf).exchange(wire.encode_request(asked), 1.0))
        refusals = [wire.refused(data) for data in reported]
        assert [r and r.code for r in refusals] == ["E_LEDGER_UNAVAILABLE"] * 5
        shelf.db.execute("DROP TRIGGER full")
        assert [counted(shelf.ledger(n)) for n in signed.institution_names] == [0] * 5
        again = list(Pool(signed, custodians, shelf).exchange(wire.encode_request(asked), 1.0))
        assert not any(wire.refused(data) for data in again)
        shelf.verify()


def test_what_was_spent_counts_whoever_simulates_next(ledgers: Ledgers, unfitted: None) -> None:
    """Few institutions and many in turn, in one folder: an institution's ledger stays where it is."""
    simulated(10, ledgers)
    simulated(MANY, ledgers)
    simulated(10, ledgers)
    assert not list(ledgers.folder.glob(f"institution-{MANY}*"))
    reported = charges(ledgers.folder)
    assert reported == {n: 3 if k < 10 else 1 for k, n in enumerate(numbered(MANY))}
    call("ledger", "verify", "--ledger", ledgers.folder)
    lines = call("ledger", "export", "--ledger", ledgers.folder).splitlines()
    assert sum('"kind": "charge"' in line for line in lines) == sum(reported.values())


def test_few_go_on_from_the_file_that_many_began(ledgers: Ledgers, unfitted: None) -> None:
    simulated(MANY, ledgers)
    few = simulated(4, ledgers, dropouts=1)  # of which one asks for what was answered before
    assert few.masked and not list(ledgers.folder.glob("institution-*.sqlite"))
    assert charges(ledgers.folder) == {n: 2 if k < 4 else 1 for k, n in enumerate(numbered(MANY))}


def test_a_cap_refuses_before_anything_is_charged(tmp_path: Path, unfitted: None) -> None:
    capped = Ledgers(tmp_path / "ledgers", "people", Cap(2.1, 1e-6))
    simulated(MANY, capped)
    with pytest.raises(BudgetError) as caught:
        simulated(MANY, capped)
    assert caught.value.code == "E_BUDGET"
    assert set(charges(capped.folder).values()) == {1}


def test_keys_stay_and_are_the_owners_alone(ledgers: Ledgers, unfitted: None) -> None:
    first, second = simulated(MANY, ledgers), simulated(MANY, ledgers)
    assert first.study.keys == second.study.keys
    assert len(set(first.study.keys.values())) == MANY
    if sys.platform != "win32":
        assert (ledgers.folder / FILE).stat().st_mode & 0o077 == 0


def test_two_who_simulate_at_once_share_a_file(tmp_path: Path) -> None:
    """Each reads on from what the other has written, and neither's entries are lost."""
    with Shelf(tmp_path / FILE) as one, Shelf(tmp_path / FILE) as other:
        one.enrol(["a", "b"])
        other.enrol(["b", "c"])
        assert one.key("b").private_bytes_raw() == other.key("b").private_bytes_raw()
        for number, shelf in enumerate((one, other, one, other)):
            with shelf.together():
                for name in ("a", "b"):
                    shelf.ledger(name).record(Consent(f"{number:064}", "many", 1))
        assert [len(s.ledger(n).entries()) for s in (one, other) for n in ("a", "b")] == [4] * 4
        assert one.verify() == other.verify() == 8
    with Shelf(tmp_path / FILE) as again:
        assert again.verify() == 8


# A file that was touched


def older_copy(folder: Path, ledgers: Ledgers) -> None:
    """A copy of the file as it was after one simulation of two."""
    simulated(MANY, ledgers)
    shutil.copy(ledgers.folder / FILE, folder / "older")
    simulated(MANY, ledgers)
    shutil.copy(folder / "older", ledgers.folder / FILE)


def lost(folder: Path, ledgers: Ledgers) -> None:
    simulated(MANY, ledgers)
    (ledgers.folder / FILE).unlink()


class Watched:
    """A connection that knows how many statements ran at the same time, at most."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db, self._now, self.most = db, 0, 0

    def execute(self, *words: Any) -> sqlite3.Cursor:
        self._now += 1
        self.most = max(self.most, self._now)
        time.sleep(0.005)
        found = self._db.execute(*words)
        self._now -= 1
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


def test_threads_that_read_take_turns(tmp_path: Path) -> None:
    """They share a connection, and with it the statements that it has prepared: one thread could read what another had asked."""
    names = numbered(12)
    with Shelf(tmp_path / FILE) as shelf:
        shelf.enrol(names)
        keys, ledgers = {n: shelf.key(n).private_bytes_raw() for n in names}, [shelf.ledger(n) for n in names]
        watched = Watched(shelf.db)
        shelf.db = watched  # type: ignore[assignment]
        with ThreadPoolExecutor(6) as pool:
            found = dict(pool.map(lambda n: (n, shelf.key(n).private_bytes_raw()), names))
            heads = set(pool.map(lambda ledger: ledger.head(), ledgers))
    assert (found, watched.most) == (keys, 1)
    assert heads == {GENESIS}


@pytest.mark.parametrize("touch", [older_copy, lost])
def test_a_file_that_lacks_what_it_had_is_refused(tmp_path: Path, ledgers: Ledgers, unfitted: None, touch: Any) -> None:
    touch(tmp_path, ledgers)
    with pytest.raises(CohortiumError) as caught:
        simulated(MANY, ledgers)
    assert caught.value.code == "E_LEDGER_ROLLED_BACK"
    document = call_json("ledger", "show", "--ledger", ledgers.folder, code=caught.value.exit_code)
    assert document["error"]["code"] == "E_LEDGER_ROLLED_BACK"  # type: ignore[index]


TOUCHED = {
    "a charge": "UPDATE entry SET content = replace(content, 'people', 'nobody') WHERE kind = 'charge' AND institution LIKE '%-07'",
    "a whole ledger": "DELETE FROM entry WHERE institution LIKE '%-07'",
    "an end": "DELETE FROM entry WHERE kind = 'charge' AND institution LIKE '%-07'",
    "whose it is": "UPDATE entry SET institution = 'somebody' WHERE institution LIKE '%-07'",
    "a batch": "DELETE FROM batch WHERE number = 1",
}


@pytest.mark.parametrize("change", TOUCHED.values(), ids=TOUCHED)
def test_what_was_changed_in_a_file_is_found(ledgers: Ledgers, unfitted: None, change: str) -> None:
    simulated(MANY, ledgers)
    with sqlite3.connect(ledgers.folder / FILE) as db:
        with pytest.raises(sqlite3.IntegrityError, match="append only"):
            db.execute(change)
        for kind in ("entries", "batches"):
            for when in ("stay", "last"):
                db.execute(f"DROP TRIGGER {kind}_{when}")
        db.execute(change)
        db.commit()
    db.close()
    document = call_json(
        "ledger", "verify", "--ledger", ledgers.folder, code=LedgerError("E_LEDGER_CORRUPT", "", "", "").exit_code
    )
    assert document["error"]["code"] == "E_LEDGER_CORRUPT"  # type: ignore[index]


def test_a_ledger_is_no_shelf_and_a_shelf_no_ledger(tmp_path: Path) -> None:
    """A version that knows of none refuses the file by its format, and overlooks nothing that was spent."""
    with Shelf(tmp_path / FILE):
        pass
    with pytest.raises(LedgerError) as caught:
        Ledger(tmp_path / FILE)
    assert caught.value.code == "E_VERSION"
    call("ledger", "backup", "--ledger", tmp_path / FILE, "--out", tmp_path / "copy", code=caught.value.exit_code)


def test_no_answer_is_written_down(ledgers: Ledgers, unfitted: None) -> None:
    """What went under no mask and carries a share of the noise alone is in no file, and can be asked for by nobody."""
    simulated(MANY, ledgers)
    files = {p.name for p in ledgers.folder.iterdir()}
    assert files <= {FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}.head"}
    with sqlite3.connect(ledgers.folder / FILE) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        longest = max(len(c) for (c,) in db.execute("SELECT content FROM entry"))
    db.close()
    assert tables == {"entry", "batch", "key"} and longest < 1500
    with Shelf(ledgers.folder / FILE) as shelf:
        ledger = shelf.ledger(numbered(MANY)[0])
        entry = next(e for e in ledger.entries() if isinstance(e.record, Charge))
        with pytest.raises(Exception, match="keeps no answers"):
            ledger.message(entry)


# What is said


def test_the_release_says_that_there_were_no_masks(tmp_path: Path, ledgers: Ledgers) -> None:
    release = load_release(write_release(simulated(MANY, ledgers), tmp_path / "many", 0))
    report = unescape((release.path / "report.html").read_text(encoding="utf-8"))
    assert release.kind == "simulation" and release.manifest.get("masks") == UNMASKED
    assert UNMASKED in report and "masks what leaves it" not in report and "messages under masks" not in report
    assert "under masks, and the signed keys" not in report
    assert f'"masks": "{UNMASKED}"' in (release.path / "ledger.json").read_text(encoding="utf-8")
    reported = {g["adversary"]: g["sees"] for g in release.manifest["guarantees"]}
    assert reported["coordinator"].endswith("here whoever ran it saw all")
    assert "without its mask" not in " ".join(reported.values())


class Recorded:
    """Everything that is reported of the progress."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.begun: Counter[str] = Counter()
        self.advanced: Counter[str] = Counter()

    def start(self, total: int, what: str) -> None:
        self.open.append(what)
        self.begun[what] += total

    def advance(self, by: int = 1) -> None:
        self.advanced[self.open[-1]] += by

    def done(self) -> None:
        self.open.pop()


@pytest.mark.parametrize("size", [3, MANY])
def test_progress_within_a_round_counts_who_has_answered(ledgers: Ledgers, unfitted: None, size: int) -> None:
    progress = Recorded()
    simulated(size, ledgers, progress)
    exchanges = 1 if size == MANY else 2  # of keys, and of answers
    assert progress.advanced["answers"] == progress.begun["answers"] == size * exchanges
    assert progress.advanced["rounds"] == progress.begun["rounds"] == 1 and not progress.open


def test_a_table_is_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unfitted: None) -> None:
    from cohortium.study.study import dumps_schema

    data, schema = tmp_path / "data.csv", tmp_path / "schema.toml"
    pd.concat(tables_of(40)).to_csv(data, index=False)
    schema.write_text(dumps_schema(SCHEMA), encoding="utf-8")
    calls: Counter[str] = Counter()
    from cohortium.data import encoding

    whole = encoding.encode

    def encode(table: pd.DataFrame, to: Schema) -> Codes:
        calls["encode"] += 1
        return whole(table, to)

    monkeypatch.setattr(encoding, "encode", encode)
    monkeypatch.setattr(holdings, "encode", encode)
    monkeypatch.setattr(experiment, "write_release", lambda *_: None)  # no release is looked at
    monkeypatch.setattr(experiment, "load_release", lambda _: None)
    monkeypatch.setattr("cohortium_simulation.cli._report", lambda *_: None)
    options = ("--epsilon", 2, "--delta", 1e-6, "--institutions", MANY, "--out", tmp_path / "out")
    call("simulate", "--data", data, "--schema", schema, *options)
    assert calls["encode"] == MANY


# What it costs the machine


def calls_of(size: int, folder: Path) -> int:
    """How many functions of Python's are called to run the study, in all threads."""
    study, tables, counted = study_of(size), tables_of(size), Counter[str]()

    def count(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            counted["call"] += 1

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        run(study, tables, Ledgers(folder, "people"), 0)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return counted["call"]


def test_the_work_grows_with_institutions_and_not_with_their_pairs(tmp_path: Path, unfitted: None) -> None:
    """Functions called, which a busy machine calls as often as an idle one."""
    calls_of(MANY, tmp_path / "warm")  # what is imported, planned and remembered once
    few, many = calls_of(MANY, tmp_path / "few"), calls_of(4 * MANY, tmp_path / "many")
    assert many < 4.5 * few


def test_an_answer_is_waited_for_and_not_looked_for(
    monkeypatch: pytest.MonkeyPatch, ledgers: Ledgers, unfitted: None
) -> None:
    """Over Flower's apps in this process, too, nobody sleeps while an answer lies there."""

    def slept(seconds: float) -> None:
        raise AssertionError("it sleeps")

    from cohortium_server import app

    monkeypatch.setattr(app.time, "sleep", slept)
    assert simulated(3, ledgers).masked


def test_who_is_missing_is_named(tmp_path: Path, unfitted: None) -> None:
    """An institution that cannot answer from its table is named, with a code, and the others are charged."""
    with pool_of(study_of(4), tmp_path) as (signed, signatures, custodians, shelf):
        broken = custodians[2]

        def failing(_: Study) -> Codes:
            raise ValueError("SECRET-CANARY")

        object.__setattr__(broken._holding, "table", failing)
        with pytest.raises(FederationError, match=broken.identity.name) as caught:
            pooled.run_pooled(signed, signatures, custodians, shelf)
        assert caught.value.code == "E_INSTITUTION_REFUSED" and "CANARY" not in str(caught.value)
        assert [len(shelf.ledger(n).charges()) for n in signed.institution_names] == [1, 1, 0, 1]
