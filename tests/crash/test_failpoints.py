"""Killed at every named place, started again: nothing is under-counted, nothing differs, and the release appears.

The custodian and the coordinator are processes of their own, killed by SIGKILL. All that ever crossed the sockets is
held against the ledgers afterwards.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from invariants import check, check_finished, compare
from launcher import HARMLESS, Mischief, Process, filling, killing
from processes import SCHEMA, SWEEP, TRAINING, Federation, federation, study
from visits import people

from cohortium.ledger.records import Charge
from cohortium.ledger.shelf import FILE as SHELF
from cohortium.ledger.shelf import Shelf
from cohortium.study.consent import read_signatures, unsigned
from cohortium.study.plan import plan
from cohortium.study.study import Privacy, Study, dumps_schema
from cohortium.system.keys import load_or_create_key, public_text
from cohortium_client.custodian.institution import load_institution
from cohortium_simulation.pooled import MASKED_UP_TO

ROOT = Path(__file__).parent.parent.parent
KILLED = -signal.SIGKILL
CUSTODIAN = (
    "request accepted",
    "answer computed",
    "ledger begun",
    "ledger written",
    "ledger committed",
    "witness written",
    "answer sealed",
)
ROUND = ("round asked", "round added up", "receipts kept", "checkpoint written")
RELEASE = ("release written", "manifest signed", "release published")
COORDINATOR = ("run begun", *ROUND, *RELEASE)
SIGNING = ("study written aside", "study kept", "ledger committed", "witness written", "file written aside")
RESTORING = ("backup read", "restore begun", "lost ledger aside", "ledger restored")
COMPACTING = ("drop begun", "messages dropped", "ledger shrunk")
POOLING = ("batch written", "batch committed")
WITH_DROPOUTS = ("keys shared", "answers masked", "survivors confirmed", "shares revealed")
MASKS = ("keys exchanged", *WITH_DROPOUTS)
OTHERS = ("older release aside", "file written aside", "sums given up")  # each has a test of its own

Begin = Callable[[Study], Federation]


@pytest.fixture
def begin() -> Iterator[Begin]:
    with ExitStack() as stack:
        yield lambda agreed: stack.enter_context(federation(agreed))


def ends(process: Process, status: int) -> None:
    assert process.wait() == status, process.output


def test_these_are_all_places() -> None:
    sources = (
        p.read_text() for room in ("common", "client", "server", "simulation") for p in (ROOT / room).rglob("*.py")
    )
    named = {name for text in sources for name in re.findall(r'failpoints\.passed\("(.*?)"\)', text)}
    assert named == {*CUSTODIAN, *COORDINATOR, *SIGNING, *RESTORING, *COMPACTING, *POOLING, *MASKS, *OTHERS}


@pytest.mark.parametrize("place", CUSTODIAN)
def test_a_custodian_killed(begin: Begin, place: str) -> None:
    running = begin(study(SWEEP))
    running.serve("north", killing(place))
    running.serve("south")
    lose_north(running)
    running.finish()
    check_finished(running)


def test_a_custodian_killed_in_every_round_of_training(begin: Begin) -> None:
    """One run; in each of its rounds the custodian is killed at another place, and the run resumed."""
    running = begin(study(replace(TRAINING, rounds=len(CUSTODIAN))))
    running.serve("south")
    for place in CUSTODIAN:
        running.serve("north", killing(place))
        lose_north(running)
    running.finish()
    check_finished(running)


def lose_north(running: Federation) -> None:
    """Go on, until north's custodian is killed."""
    coordinator = running.go_on()
    assert coordinator.wait() == 16, coordinator.output
    assert "no answer from north" in coordinator.output or "refused by the node of north" in coordinator.output
    ends(running.custodians["north"], KILLED)
    check(running)
    assert not running.release.exists()


@pytest.mark.parametrize("place", COORDINATOR)
def test_a_coordinator_killed(begin: Begin, place: str) -> None:
    running = begin(study(SWEEP))
    running.serve_all()
    ends(running.go_on(killing(place)), KILLED)
    check(running)
    assert running.release.exists() is (place == "release published")
    running.finish()
    check_finished(running)


def test_a_coordinator_killed_in_every_round_of_training(begin: Begin) -> None:
    """One run, killed and resumed at each place of its second round."""
    running = begin(study(TRAINING))
    running.serve_all()
    for place, nth in zip(ROUND, (2, 1, 1, 1), strict=True):
        ends(running.go_on(killing(place, nth)), KILLED)
        check(running)
    running.finish()
    check_finished(running)


def test_a_coordinator_killed_while_it_writes_a_file(begin: Begin) -> None:
    """At its first file, then at its second, until a run is begun; resumed likewise, until there is nothing to kill."""
    running = begin(study(SWEEP))
    running.serve_all()
    before = kills_at_files(running, lambda: running.run_folder is not None)
    after = kills_at_files(running, lambda: running.release.exists())
    assert before >= 5 and after >= 3  # study, schema, two signatures and the run; receipts, the sum and a key
    check_finished(running)


def kills_at_files(running: Federation, done: Callable[[], bool]) -> int:
    """How many kills it took until it was ``done``."""
    kills = 0
    while not done():
        kills += 1
        assert running.go_on(killing("file written aside", kills)).wait() in (0, KILLED)
        check(running)
    return kills


def test_a_release_that_takes_an_older_ones_place(begin: Begin) -> None:
    """Its run ended after it was published; resumed, the release is written once more."""
    running = begin(study(SWEEP))
    running.serve_all()
    ends(running.go_on(killing("release published")), KILLED)
    for place, there in (("manifest signed", True), ("older release aside", False)):
        ends(running.go_on(killing(place)), KILLED)
        assert running.release.exists() is there
        check(running)
    running.finish()
    check_finished(running)


def test_everybody_killed_at_once(begin: Begin) -> None:
    """North after it has charged, south before, and the coordinator while it waits for them."""
    running = begin(study(TRAINING))
    running.serve("north", killing("witness written", 3))
    running.serve("south", killing("ledger written", 3))
    coordinator = running.go_on()
    for name in ("north", "south"):
        ends(running.custodians[name], KILLED)
    coordinator.kill()
    check(running)
    running.finish()
    check_finished(running)


@pytest.mark.parametrize("place", SIGNING)
def test_killed_while_signing(begin: Begin, place: str) -> None:
    """What was half agreed to disturbs nobody, and is signed again."""
    running = begin(study(SWEEP))
    other = study(SWEEP, name="other", institutions=running.study.institutions)
    from cohortium.study.study import dumps_study

    path = running.files / "other.toml"
    path.write_text(dumps_study(other))
    sign = ("study", "sign", path, "--as", running.folder("north"))
    nth = 3 if place == "file written aside" else 1  # after the two files of the study that is kept
    ends(Process(running.home, *sign, mischief=killing(place, nth)), KILLED)
    assert unsigned(other, read_signatures(path, other)) == ["north", "south"]
    ends(Process(running.home, "institution", "check", running.folder("north")), 0)
    ends(Process(running.home, *sign), 0)
    assert unsigned(other, read_signatures(path, other)) == ["south"]
    running.finish()
    check_finished(running)


@pytest.mark.parametrize("place", RESTORING)
def test_killed_while_restoring_a_ledger(begin: Begin, place: str) -> None:
    """The ledger is the lost one, or none that anybody opens, or the restored one; the same words finish it."""
    running = begin(study(SWEEP))
    keys = [running.files / f"{name}.key" for name in ("anne", "bert")]
    folder, backup, request = running.folder("north"), running.files / "backup.sqlite", running.files / "request.json"
    public = [public_text(load_or_create_key(key)) for key in keys]
    described = (folder / "institution.toml").read_text()
    (folder / "institution.toml").write_text(f"restorers = {public}\n{described}")
    ends(Process(running.home, "ledger", "backup", "--ledger", folder / "ledger.sqlite", "--out", backup), 0)
    running.agree(study(SWEEP, name="other"))
    (folder / "ledger.sqlite").unlink()
    ends(Process(running.home, "ledger", "request-restore", backup, "--institution", folder, "--out", request), 0)
    for key in keys:
        ends(Process(running.home, "ledger", "sign-restore", request, "--key", key), 0)
    restore = ("ledger", "restore", backup, "--institution", folder, "--request", request)
    ends(Process(running.home, *restore, mischief=killing(place)), KILLED)
    if place != "ledger restored":
        ends(Process(running.home, "ledger", "verify", "--ledger", folder / "ledger.sqlite"), 14)
        ends(Process(running.home, *restore), 0)
    with running.ledger("north") as ledger:
        assert ledger.verify() == 2
        assert all(ledger.is_closed(digest) for digest in load_institution(folder).agreements)
        assert ledger.presumed is not None
        assert ledger.witness.read_text() == ledger.head()


@pytest.mark.parametrize("place", COMPACTING)
def test_a_custodian_killed_while_it_drops_answers(begin: Begin, place: str) -> None:
    """The run has ended, and its release does not wait for that; the ledger is whole, and drops the rest later."""
    running = begin(study(SWEEP))
    running.serve("north", killing(place))
    running.serve("south")
    assert running.go_on().wait() == 0
    ends(running.custodians["north"], KILLED)
    check_finished(running)
    running.serve("north")
    compact = ("ledger", "compact", "--institution", running.folder("north"))
    ends(Process(running.home, *compact, *([] if place == "ledger shrunk" else ["--run", run_of(running)])), 0)
    check_finished(running)
    for name in ("north", "south"):
        with running.ledger(name) as ledger:
            assert ledger.stored_answers() == 0


@pytest.mark.parametrize("place", COMPACTING)
def test_killed_while_compacting(begin: Begin, place: str) -> None:
    """By hand, while the custodian serves: dropped are all answers or none, and the same words finish it."""
    running = begin(study(SWEEP))
    site = running.folder("north")
    described = (site / "institution.toml").read_text()
    (site / "institution.toml").write_text(f'{described}\n[ledger]\nkeep_answers = "for-ever"\n')
    running.finish()
    compact = ("ledger", "compact", "--institution", site, "--run", run_of(running))
    ends(Process(running.home, *compact, mischief=killing(place)), KILLED)
    check_finished(running)
    with running.ledger("north") as ledger:
        dropped = ledger.stored_answers() == 0
    assert dropped is (place == "ledger shrunk")
    ends(Process(running.home, *compact[: 4 if dropped else 6]), 0)
    check_finished(running)
    ends(Process(running.home, "ledger", "verify", "--ledger", site / "ledger.sqlite"), 0)


@pytest.mark.parametrize("place", POOLING)
def test_a_simulation_of_many_killed(tmp_path: Path, place: str) -> None:
    """Its institutions' ledgers lie in one file: they have charged all answers of a batch, or none; then the same words go on."""
    people(600, 0).to_csv(tmp_path / "visits.csv", index=False)
    (tmp_path / "schema.toml").write_text(dumps_schema(SCHEMA))
    home, many = tmp_path / "home", MASKED_UP_TO + 1
    files = ("--data", tmp_path / "visits.csv", "--schema", tmp_path / "schema.toml", "--out", tmp_path / "release")
    simulate = ("simulate", *files, "--institutions", many, "--epsilon", 5, "--delta", 1e-6, "--rows", 50)
    ends(Process(home, *simulate, mischief=killing(place, 3)), KILLED)  # after keys and consents
    assert not (tmp_path / "release").exists()
    charged = [many] if place == "batch committed" else [0]
    for status, more in ((None, 0), (0, many)):
        if status is not None:
            ends(Process(home, *simulate), status)
        charged.append(charged[-1] + more)
        ends(Process(home, "ledger", "verify"), 0)
        with Shelf(home / "ledgers" / SHELF) as shelf:
            entries = [e for name in shelf.institutions() for e in shelf.ledger(name).entries()]
        assert len([e for e in entries if isinstance(e.record, Charge)]) == charged[-1]


def run_of(running: Federation) -> str:
    assert running.run_folder is not None
    return running.run_folder.name


# Masked sums


MASKED = Privacy(epsilon=5.0, delta=1e-6, trust="secure-sum")
THREE = ("north", "south", "west")


@pytest.mark.parametrize("place", ["keys exchanged", "round added up"])
def test_a_coordinator_of_masked_sums_killed(begin: Begin, place: str) -> None:
    running = begin(study(SWEEP, THREE, privacy=MASKED))
    running.serve_all()
    ends(running.go_on(killing(place)), KILLED)
    check(running)
    running.finish()
    check_finished(running)


@pytest.mark.parametrize("place", ["request accepted", "ledger written", "ledger committed", "answer sealed"])
def test_a_custodian_of_masked_sums_killed(begin: Begin, place: str) -> None:
    running = begin(study(SWEEP, THREE, privacy=MASKED))
    running.serve("north", killing(place))
    for name in THREE[1:]:
        running.serve(name)
    ends(running.go_on(), 16)
    ends(running.custodians["north"], KILLED)
    check(running)
    running.finish()
    check_finished(running)


@pytest.mark.parametrize("place", [*WITH_DROPOUTS, "round added up", "checkpoint written"])
def test_a_coordinator_of_masked_sums_with_dropouts_killed(begin: Begin, place: str) -> None:
    """It goes on with the attempt: one sum is opened, and the budget is an uninterrupted run's, at any policy."""
    running = begin(study(SWEEP, (*THREE, "east"), privacy=replace(MASKED, dropouts=1)))
    running.serve_all()
    ends(running.go_on(killing(place)), KILLED)
    check(running)
    running.finish()
    check_finished(running)


@pytest.mark.parametrize("place", ["request accepted", "ledger committed", "answer sealed"])
def test_custodians_of_masked_sums_with_dropouts_killed(begin: Begin, place: str) -> None:
    """Two of four, where one may drop out: they are asked again for what they have masked."""
    running = begin(study(SWEEP, (*THREE, "east"), privacy=replace(MASKED, dropouts=1)))
    for name in running.study.institution_names:
        running.serve(name, killing(place) if name in ("north", "south") else HARMLESS)
    ends(running.go_on(), 16)
    check(running)
    assert not running.release.exists()
    running.finish()
    check_finished(running)


# A disk that is full from some place on


@pytest.mark.parametrize("place", CUSTODIAN)
def test_an_institutions_disk_full(begin: Begin, place: str) -> None:
    """Nothing leaves that could not be charged; with space again, the same process goes on."""
    running = begin(study(SWEEP))
    running.serve("north", filling(place))
    running.serve("south")
    coordinator = running.go_on()
    charged = place in ("ledger committed", "witness written", "answer sealed")
    reported = place in ("witness written", "answer sealed")
    ends(coordinator, 0 if reported else 16)
    if not reported:
        assert "refused by north (E_LEDGER_UNAVAILABLE)" in coordinator.output
        assert "E_LEDGER_UNAVAILABLE" in running.custodians["north"].output
        assert running.taps["north"].exchanges[-1].answer is not None
    check(running)
    with running.ledger("north") as ledger:
        assert len(ledger.charges()) == charged
    make_room(running.custodians["north"])
    running.finish()
    check_finished(running)


def make_room(process: Process) -> None:
    import resource

    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.mark.parametrize("place", ["run begun", "round added up", "release written", "manifest signed"])
def test_the_coordinators_disk_full(begin: Begin, place: str) -> None:
    running = begin(study(SWEEP))
    running.serve_all()
    coordinator = running.go_on(filling(place))
    last = place == "manifest signed"  # only names change from there on
    assert coordinator.wait() == (0 if last else 10), coordinator.output
    assert last or "E_IO" in coordinator.output
    assert "Traceback" not in coordinator.output
    assert running.release.exists() is last
    check(running)
    running.finish()
    check_finished(running)


# The check itself


def test_an_answer_that_leaves_before_its_charge_is_noticed(begin: Begin) -> None:
    """The mutant "send, then record", killed in between: deterministic, where a random kill finds it once in fifteen."""
    running = begin(study(SWEEP))
    go = running.files / "go"
    running.serve("north", Mischief(at="ledger begun", unrecorded=str(go)))
    running.serve("south")
    ends(running.go_on(killing("round added up")), KILLED)
    go.touch()
    ends(running.custodians["north"], KILLED)
    running.settle()
    assert compare(running, "south").uncounted == []
    assert len(compare(running, "north").uncounted) == 1
    with pytest.raises(AssertionError, match="north sent what it had not charged"):
        check(running)
    running.serve_all()
    running.go_on().wait()  # asked again, it charges fresh noise for what it has already sent
    running.settle()
    assert len(compare(running, "north").differing) == 1
    with pytest.raises(AssertionError, match="other bytes"):
        check(running)


def test_the_check_has_seen_answers(begin: Begin) -> None:
    running = begin(study(TRAINING))
    running.finish()
    check_finished(running)
    for name in running.study.institution_names:
        assert compare(running, name).answers == plan(running.study).rounds == 3
