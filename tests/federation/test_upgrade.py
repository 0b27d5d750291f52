"""From one version to the next: who understands whom, and that what older versions wrote is read."""

# ruff: noqa: F401 (fixtures are imported by name)

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from enlisted import RUN, answer, custodian, refusal, request
from local_federation import (
    NAMES,
    SWEEP,
    TRAINING,
    Federation,
    Start,
    begin,
    go,
    start_fixture,
    table,
)
from masked_federation import (
    Make,
    make_fixture,
)

from cohortium.errors import FederationError, WireError
from cohortium.federation import wire
from cohortium.ledger.records import Approval, Charge, Consent, Withdrawal
from cohortium.ledger.store import Ledger
from cohortium.study.plan import plan
from cohortium.study.study import Study, load_study
from cohortium.study.wording import Kind
from cohortium_client.custodian.sessions import Sessions, StoredStatement
from cohortium_server.release import load_release
from cohortium_server.rounds.folder_journal import FolderJournal

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

FORMATS = Path(__file__).parents[1] / "vectors" / "formats"
RELEASES: dict[Path, Kind | None] = {
    FORMATS / "1" / "release": None,  # the kind was not recorded
    FORMATS / "2" / "release": "federation",
    FORMATS / "2" / "simulation": "simulation",
    FORMATS / "3" / "simulation": "simulation",
}
OLD, NEW, BOTH = (2,), (3,), (3, 2)
WIDTH = plan(SWEEP).phase(0).query.width

Speaking = Callable[[tuple[int, ...]], None]


@pytest.fixture
def speaking(monkeypatch: pytest.MonkeyPatch) -> Speaking:
    """From now on this process speaks these versions; the pretended third is framed like the second."""
    return lambda versions: monkeypatch.setattr(wire, "VERSIONS", versions)


@dataclass
class Between:
    """A coordinator and institutions of other versions."""

    federation: Federation
    speaking: Speaking
    coordinator: tuple[int, ...]
    institutions: tuple[int, ...]

    def announce(self, request: bytes) -> None:
        pass

    def exchange(self, data: bytes, timeout: float) -> Iterable[bytes]:
        self.speaking(self.institutions)
        reported = list(self.federation.exchange(data, timeout))
        self.speaking(self.coordinator)
        return reported


class Plain(Federation):
    """One that looks at nothing it passes on."""

    def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]:
        return [c.answer(request) for c in self.custodians.values()]


def plain(federation: Federation) -> Plain:
    return Plain(federation.custodians, federation.ledgers)


# Who understands whom


def test_the_coordinator_asks_in_the_newest_version(speaking: Speaking) -> None:
    for versions, magic in ((OLD, b"COH2"), (BOTH, b"COH3"), (NEW, b"COH3")):
        speaking(versions)
        asked = wire.encode_request(wire.Request("aa", "bb", 0, 0))
        assert asked[:4] == magic
        assert wire.decode_request(asked).version == wire.version_of(asked) == versions[0]


@pytest.mark.parametrize("bundled", [False, True])
def test_an_institution_answers_in_the_version_it_is_asked_in(start: Start, speaking: Speaking, bundled: bool) -> None:
    north = start(SWEEP).custodians["north"]
    for version, run in ((2, "aa" * 16), (3, "bb" * 16)):
        speaking((version,))
        asked = request(SWEEP, run=run)
        asked = wire.encode_bundle([asked]) if bundled else asked
        speaking(BOTH)
        reported = north.answer(asked)
        assert wire.version_of(reported) == version
        speaking((version,))  # the coordinator speaks no other
        assert answer(wire.decode_bundle(reported)[0], SWEEP).reply.run == run


@pytest.mark.parametrize(("coordinator", "institution"), [(NEW, OLD), (OLD, NEW), (BOTH, OLD)])
def test_a_version_that_is_not_spoken_is_refused_by_name(
    start: Start, speaking: Speaking, coordinator: tuple[int, ...], institution: tuple[int, ...]
) -> None:
    """Nothing is charged, and both sides read the refusal, whatever they speak."""
    federation = start(SWEEP)
    speaking(coordinator)
    asked = request(SWEEP)
    speaking(institution)
    reported = federation.custodians["north"].answer(asked)
    assert reported == refusal("E_VERSION")
    assert federation.charges == [0, 0]
    for versions in (coordinator, institution):
        speaking(versions)
        assert wire.decode_bundle(reported) == [reported]
        assert (
            wire.decode_answer(reported, WIDTH) == wire.decode_statement(reported) == wire.Refusal("north", "E_VERSION")
        )


def test_the_side_that_is_behind_is_named(speaking: Speaking) -> None:
    messages = {v: (speaking((v,)), wire.encode_request(wire.Request("aa", "bb", 0, 0)))[1] for v in (1, 2, 3)}
    speaking(OLD)
    with pytest.raises(WireError, match=r"E_VERSION.*version 3, spoken here is 2. Update this side"):
        wire.decode_request(messages[3])
    with pytest.raises(WireError, match=r"E_VERSION.*version 1, spoken here is 2. Update the other side"):
        wire.decode_request(messages[1])


def test_a_run_names_the_institutions_that_are_behind(start: Start, speaking: Speaking, tmp_path: Path) -> None:
    federation = start(SWEEP)
    speaking(BOTH)
    with pytest.raises(FederationError, match=r"E_INSTITUTION_REFUSED.*north \(E_VERSION\), south \(E_VERSION\)"):
        go(begin(tmp_path, SWEEP), Between(plain(federation), speaking, BOTH, OLD))
    assert federation.charges == [0, 0]


@pytest.mark.parametrize(("coordinator", "institutions"), [(OLD, BOTH), (BOTH, BOTH), (NEW, BOTH)])
def test_institutions_first_then_the_coordinator(
    start: Start, speaking: Speaking, tmp_path: Path, coordinator: tuple[int, ...], institutions: tuple[int, ...]
) -> None:
    speaking(coordinator)
    outcome = go(begin(tmp_path, SWEEP), Between(plain(start(SWEEP)), speaking, coordinator, institutions))
    assert len(outcome.answered) == 1


def test_a_run_under_way_goes_on_over_the_upgrade(start: Start, speaking: Speaking, tmp_path: Path) -> None:
    """North answered before, in the old version; asked again in the new one it sends the same reply and charges nothing."""
    federation = start(TRAINING)
    silent = Federation({"north": federation.custodians["north"]}, federation.ledgers)
    journal = begin(tmp_path, TRAINING)
    with pytest.raises(FederationError, match="south"):
        go(journal, silent)
    assert federation.charges == [1, 0]
    kept = federation.ledgers["north"].charges()[0]
    speaking(BOTH)
    outcome = go(FolderJournal(journal.folder), Between(plain(federation), speaking, BOTH, BOTH))
    assert federation.charges == 2 * [plan(TRAINING).rounds]
    assert kept.message in [r.message for r in outcome.answered[0].receipts]


def test_masked_sums_are_in_the_version_asked_in(
    make: Make, speaking: Speaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaking(BOTH)
    federation = make(4, 1)
    reported: list[bytes] = []
    for c in federation.custodians.values():
        monkeypatch.setattr(c, "answer", lambda data, ask=c.answer: reported.append(ask(data)) or reported[-1])
    assert len(federation.ask().receipts) == 4
    assert len(reported) > 8
    assert {m[:4] for message in reported for m in [message, *wire.decode_bundle(message)]} == {b"COH3"}


@pytest.mark.parametrize("versions", [OLD, BOTH, NEW])
def test_a_refusal_is_the_same_bytes_in_every_version(speaking: Speaking, versions: tuple[int, ...]) -> None:
    speaking(versions)
    text = b'{"code":"E_BUDGET","institution":"north","type":"refusal"}'
    data = b"COH2" + len(text).to_bytes(4, "little") + text
    assert wire.encode_refusal(wire.Refusal("north", "E_BUDGET")) == data
    assert wire.refused(data) == wire.Refusal("north", "E_BUDGET")
    if versions == NEW:
        with pytest.raises(WireError, match="E_VERSION"):  # nothing else of the old version
            wire.decode_request(b"COH2" + request(SWEEP)[4:])


def test_every_version_reads_the_messages_of_version_2(speaking: Speaking) -> None:
    """Those of tests/vectors, with whatever is spoken beside."""
    speaking(BOTH)
    vectors = json.loads((FORMATS.parent / "wire.json").read_text())["good"]
    for vector in (v for v in vectors if "request" in v):
        asked = wire.decode_request(bytes.fromhex(vector["message"]))
        assert asked.version == 2
        assert wire.encode_request(asked).hex() == vector["message"]


# What lies on disks


def with_ledgers() -> list[Path]:
    """The formats of everything that lies on disks; of releases alone there are later ones."""
    return sorted(p for p in FORMATS.iterdir() if (p / "run").is_dir())


@pytest.fixture(params=with_ledgers(), ids=lambda p: p.name)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of what a version wrote, for nobody to change the original."""
    shutil.copytree(request.param, tmp_path / "written")
    return tmp_path / "written"


@pytest.fixture
def ledgers(written: Path) -> Iterator[dict[str, Ledger]]:
    opened = {name: Ledger(written / f"{name}.sqlite") for name in NAMES}
    yield opened
    for ledger in opened.values():
        ledger.close()


@pytest.fixture
def studies(written: Path) -> dict[str, Study]:
    """What was signed, by its digest: the one that was released and the one whose run stopped."""
    return {study.digest: study for study in (load_study(written / p / "study.toml") for p in ("release", "run"))}


def test_there_are_formats() -> None:
    assert [p.name for p in with_ledgers()] == ["1"]
    assert sorted(p.parent.name + "/" + p.name for p in RELEASES) == [
        "1/release",
        "2/release",
        "2/simulation",
        "3/simulation",
    ]


def test_ledgers_open_and_count_the_same(ledgers: dict[str, Ledger], studies: dict[str, Study]) -> None:
    north = ledgers["north"]
    kinds = [type(e.record) for e in north.entries()]
    assert kinds == [Approval, Consent, Consent, Charge, Charge, Charge, Withdrawal]
    assert north.verify() == 7
    assert north.head() == "5ea61325dc8814ff9193123fd20fc4c40a641a98fc116b592b3569de19812420"
    assert north.spent("customers", 1e-6).epsilon == pytest.approx(3.759124, rel=1e-3)
    for charge in north.charges():
        phase = plan(studies[charge.study]).phase(charge.round)
        sent = wire.decode_reply(north.sent(charge.place), phase.query.width)
        assert (sent.run, sent.round, sent.institution) == (charge.run, charge.round, "north")


def test_studies_have_the_digest_that_was_signed(ledgers: dict[str, Ledger], studies: dict[str, Study]) -> None:
    agreed = {e.record.study for e in ledgers["south"].entries() if isinstance(e.record, Consent)}
    assert agreed == set(studies)


def test_a_study_of_edition_2_has_the_digest_that_it_had() -> None:
    study = load_study(FORMATS / "3" / "simulation" / "study.toml")
    assert study.edition == 2
    assert study.digest == load_release(FORMATS / "3" / "simulation").manifest["study"]
    assert [load_study(folder / "study.toml").edition for folder in RELEASES] == [1, 1, 1, 2]


def test_runs_under_way_go_on(written: Path, ledgers: dict[str, Ledger], studies: dict[str, Study]) -> None:
    """Under the consents they were begun with; nothing that was answered is charged again."""
    before = [len(ledger.charges()) for ledger in ledgers.values()]
    custodians = {n: custodian(ledgers[n], table, *studies.values(), name=n) for n in NAMES}
    journal = FolderJournal(written / "run")
    outcome = go(journal, Federation(custodians, ledgers))
    assert len(outcome.answered) == plan(journal.study).rounds == 3
    after = [len(ledger.charges()) for ledger in ledgers.values()]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 2]  # north had answered two rounds


def test_sessions_of_masked_sums_are_remembered(written: Path) -> None:
    """The masks of a run under way are what they were, and what was said is said again."""
    sessions = Sessions(written / "sessions.sqlite")
    kept = sessions.secrets(RUN).to_bytes().hex()
    assert kept == "434f484d310a024eb0268977b79ad81831caf6b151e95e5ebba98f6926b5c2641063c4ff5ae2"
    assert sessions.statement(f"{RUN}/0/0/advertise") == StoredStatement("asked", b"said")
    sessions.close()


def test_a_release_is_of_the_study_that_was_signed(written: Path, studies: dict[str, Study]) -> None:
    assert load_release(written / "release").study.digest in studies


@pytest.mark.parametrize("folder", RELEASES, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_releases_are_verified_and_answer(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "release")
    release = load_release(tmp_path / "release")
    assert release.kind == RELEASES[folder]
    assert len(release.sample(20, seed=1)) == 20
    assert release.query(kind="count").estimate > 0
