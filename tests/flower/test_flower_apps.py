"""The two Flower apps by themselves: what leaves an institution, what a coordinator is asked to run, and the
names of Flower that are private and still needed."""

from __future__ import annotations

import io
import stat
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from cohortium import flower_names
from cohortium.data.columns import Categorical
from cohortium.data.schema import Schema
from cohortium.errors import (
    CohortiumError,
    FederationError,
    InputError,
    LedgerError,
    ReleaseError,
    StudyError,
    WireError,
)
from cohortium.federation import wire
from cohortium.flower.internals import private
from cohortium.ledger.caps import Cap
from cohortium.study.consent import read_signatures, require_all
from cohortium.study.generators import Sweep
from cohortium.study.study import Institution, Privacy, Study, load_study
from cohortium_client import app as institution_side
from cohortium_client.custodian.institution import load_institution, open_custodian
from cohortium_server import app as coordinator_side
from cohortium_server import jobs
from cohortium_server.app import FIELD, MESSAGE_TYPE, RECORD
from cohortium_server.jobs import folder_job
from cohortium_server.rounds.folder_journal import FolderJournal
from cohortium_server.rounds.journal import BriefJournal
from cohortium_simulation import engine
from cohortium_simulation.federation import write_federation

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

CANARY = "SECRET-CANARY"


class Failing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def answer(self, data: bytes) -> bytes:
        raise self.error


class Echo:
    def answer(self, data: bytes) -> bytes:
        return data[::-1]


@pytest.fixture(autouse=True)
def _in_a_flower_process() -> Iterator[None]:
    engine._take_identity()
    yield
    institution_side.dismiss("here")


def ask(content: RecordDict, **node_config: str) -> Message:
    """The relay's reply, from the app itself."""
    context = Context(1, 7, dict(node_config), RecordDict(), {"federation": ""})
    return institution_side.app(Message(content, 7, MESSAGE_TYPE), context)


def request(data: bytes = b"question") -> RecordDict:
    return RecordDict({RECORD: ConfigRecord({FIELD: data})})


def content_of(reply: Message) -> bytes:
    assert reply.has_content()
    assert list(reply.content) == [RECORD]
    assert list(reply.content[RECORD]) == [FIELD]
    return bytes(reply.content[RECORD][FIELD])


def test_both_sides_name_the_record_alike() -> None:
    assert (institution_side.RECORD, institution_side.FIELD) == (RECORD, FIELD)


def test_the_relay_passes_bytes_on() -> None:
    institution_side.enrol("here", Echo())
    assert content_of(ask(request(), institution="here")) == b"noitseuq"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError(CANARY), "E_CUSTODIAN"),
        (KeyError(CANARY), "E_CUSTODIAN"),
        (LedgerError("E_LEDGER_UNAVAILABLE", CANARY, CANARY, CANARY), "E_LEDGER_UNAVAILABLE"),
    ],
)
def test_an_exception_leaves_as_a_code(error: Exception, code: str) -> None:
    institution_side.enrol("here", Failing(error))
    data = content_of(ask(request(), institution="here"))
    assert CANARY.encode() not in data
    assert wire.decode_answer(data, 1) == wire.Refusal("", code)


@pytest.mark.parametrize("content", [RecordDict(), RecordDict({RECORD: ConfigRecord({FIELD: 1})})])
def test_a_malformed_message_gets_a_code(content: RecordDict) -> None:
    institution_side.enrol("here", Failing(ValueError(CANARY)))
    assert wire.decode_answer(content_of(ask(content, institution="here")), 1) == wire.Refusal("", "E_CUSTODIAN")


def test_a_node_without_an_institution_gets_a_code(tmp_path: Path) -> None:
    for config in ({"institution": str(tmp_path / CANARY)}, {}):
        answer = wire.decode_answer(content_of(ask(request(), **config)), 1)
        assert isinstance(answer, wire.Refusal)
        assert not answer.institution


def study(schema: Schema | None = None) -> Study:
    columns = (Categorical(name="a", categories=("x", "y")), Categorical(name="b", categories=("u", "v")))
    return Study(
        name="apps",
        schema=schema or Schema(columns=columns, person="who"),
        privacy=Privacy(epsilon=3.0, delta=1e-6),
        generator=Sweep(components=10),
        institutions=(Institution(name="north"), Institution(name="south")),
    )


def tables() -> dict[str, pd.DataFrame]:
    north = pd.DataFrame({"extra": [1, 2], "b": ["u", "v"], "a": ["x", "y"], "who": ["p", "q"]})
    return {"north": north, "south": north.assign(a=["y", "y"])}


def test_a_federation_folder_is_what_both_sides_read(tmp_path: Path) -> None:
    folder = write_federation(tmp_path / "fed", study(), tables(), {"north": Cap(4.0, 1e-6)})
    written = load_study(folder / "study.toml")
    assert unkeyed(written) == study()
    assert all(i.key for i in written.institutions)
    require_all(written, read_signatures(folder / "study.toml", written))
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    own = ["institution.key", "institution.toml", "ledger.sqlite", "ledger.sqlite.head", "policy.toml", "table.parquet"]
    kept = [f"studies/{written.digest}/{name}" for name in ("schema.toml", "study.toml")]
    institutions = [f"institutions/{n}/{name}" for n in ("north", "south") for name in [*own, *kept]]
    assert files == sorted(
        ["study.toml", "schema.toml", "study.signatures/north.json", "study.signatures/south.json", *institutions]
    )
    north, south = (load_institution(folder / "institutions" / n) for n in ("north", "south"))
    assert (north.identity.name, north.file.population.name) == ("north", "north")
    assert north.policy.caps(written).population == Cap(4.0, 1e-6)
    assert south.policy.caps(written).population == Cap(written.privacy.epsilon, written.privacy.delta)
    assert list(pd.read_parquet(folder / "institutions/north/table.parquet")) == ["a", "b", "who"]
    assert {stat.S_IMODE((folder / f).stat().st_mode) for f in files if f.endswith(".key")} == {0o600}


def test_a_federation_is_answered_as_it_was_written(tmp_path: Path) -> None:
    folder = write_federation(tmp_path / "fed", study(), tables())
    job = folder_job({"federation": str(folder), "out": "", "seed": ""})
    custodians = {n: open_custodian(folder / "institutions" / n) for n in ("north", "south")}
    outcome = engine.run_in_process(job.study, job.consents, custodians, job.journal)
    assert outcome.run == job.journal.run
    assert [r.institution for r in outcome.answered[0].receipts] == ["north", "south"]


def unkeyed(written: Study) -> Study:
    assert written.simulated
    return replace(written, simulated=False, institutions=tuple(replace(i, key="") for i in written.institutions))


def mixed() -> dict[str, pd.DataFrame]:
    return tables() | {"south": pd.DataFrame({"a": ["x", 7], "b": [CANARY, 1.5], "who": ["p", "q"]})}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"north": tables()["north"]}, StudyError),
        (tables() | {"east": tables()["north"]}, StudyError),
        (tables() | {"south": pd.DataFrame({"a": ["x"]})}, CohortiumError),
        (mixed(), InputError),
    ],
)
def test_no_partial_federation(tmp_path: Path, wrong: dict[str, pd.DataFrame], error: type[CohortiumError]) -> None:
    with pytest.raises(error) as caught:
        write_federation(tmp_path / "fed", study(), wrong)
    assert CANARY not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_federation_takes_no_folder_that_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ReleaseError, match="E_RELEASE_EXISTS"):
        write_federation(tmp_path, study(), tables())
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_folder_is_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_federation(tmp_path / "fed", study(), tables())
    written: list[object] = []
    monkeypatch.setattr(jobs, "write_release", lambda *outcome, **how: written.append((*outcome, how)))
    job = folder_job({"federation": str(folder), "out": "", "seed": 7})
    assert (unkeyed(job.study), job.journal.seed) == (study(), 7)
    require_all(job.study, job.consents)
    job.finish("outcome")  # type: ignore[arg-type]
    folder_job({"federation": str(folder), "out": str(tmp_path / "out"), "seed": ""}).finish("other")  # type: ignore[arg-type]
    assert written == [
        ("outcome", {"out": folder / "release", "seed": 7, "learn": True, "replace": False}),
        ("other", {"out": tmp_path / "out", "seed": None, "learn": True, "replace": False}),
    ]


def test_a_folder_whose_study_is_not_signed_by_all_is_no_job(tmp_path: Path) -> None:
    folder = write_federation(tmp_path / "fed", study(), tables())
    (folder / "study.signatures" / "south.json").unlink()
    with pytest.raises(StudyError, match=r"E_PLAN_UNTRUSTED.*south"):
        folder_job({"federation": str(folder), "out": "", "seed": ""})
    assert not (folder / "runs").exists()


def test_a_run_that_stopped_is_a_job_as_well(tmp_path: Path) -> None:
    folder = write_federation(tmp_path / "fed", study(), tables())
    first = folder_job({"federation": str(folder), "out": "", "seed": 7})
    assert isinstance(first.journal, FolderJournal)
    config = {"federation": str(folder), "out": "", "seed": "", "resume": first.journal.run}
    with pytest.raises(FederationError, match="E_RUN"):
        folder_job(config)
    first.journal.close()
    again = folder_job(config)
    assert (again.journal.run, again.journal.seed, again.study) == (first.journal.run, 7, first.study)
    for wrong in ("00" * 16, "../institutions", "/etc"):
        with pytest.raises(FederationError, match="E_RUN"):
            folder_job(config | {"resume": wrong})


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"federation": ""}, "federation"),
        ({"federation": "fed"}, "federation"),
        ({"out": "out"}, "out"),
        ({"seed": "x"}, "seed"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path: Path, changed: dict[str, object], place: str) -> None:
    folder = write_federation(tmp_path / "fed", study(), tables())
    with pytest.raises(StudyError) as caught:
        folder_job({"federation": str(folder), "out": "", "seed": ""} | changed)
    assert caught.value.where == place


def test_a_folder_in_use_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    folder = write_federation(tmp_path / "fed", study(), tables())
    (folder / "release").mkdir()
    config = {"federation": str(folder), "out": "", "seed": ""}
    folder_job(config)
    (folder / "release" / "manifest.json").write_text("{}")
    with pytest.raises(ReleaseError, match="E_RELEASE_EXISTS"):
        folder_job(config)
    folder_job({**config, "replace": True})
    (folder / "release" / "manifest.json").rename(folder / "release" / "thesis.doc")
    with pytest.raises(ReleaseError, match="E_RELEASE_EXISTS"):
        folder_job(config)


def test_a_job_is_forgotten_with_its_run() -> None:
    job = jobs.Job(study(), {}, BriefJournal(), print)
    with pytest.raises(RuntimeError), coordinator_side.handed("here", job):
        assert coordinator_side._jobs == {"here": job}
        raise RuntimeError
    assert coordinator_side._jobs == {}


def test_the_private_names_of_flower_are_there() -> None:
    engine._internals.cache_clear()
    assert engine._internals()
    message = engine._numbered(Message(request(), 7, MESSAGE_TYPE))
    assert engine._sent(message).metadata.message_id == message.metadata.message_id != ""


@pytest.mark.parametrize("module", [part.module for part in flower_names.ENGINE])
def test_another_flower_is_refused_with_its_version(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for changed in (None, SimpleNamespace()):
        engine._internals.cache_clear()
        monkeypatch.setitem(sys.modules, module, changed)
        with pytest.raises(WireError, match=r"Flower 1\.\d+.*Install"):
            engine._take_identity()
    monkeypatch.undo()
    engine._internals.cache_clear()


def test_messages_that_cannot_be_numbered_are_refused() -> None:
    message = SimpleNamespace(metadata=SimpleNamespace(message_id=""))
    with pytest.raises(WireError, match="metadata"):
        engine._numbered(message)


def test_the_bundle_ships_its_description_and_nothing_else() -> None:
    fab = private(flower_names.BUNDLES).build_fab_from_disk(Path(__file__).parents[2] / "deploy" / "flower-app")
    with zipfile.ZipFile(io.BytesIO(fab)) as bundle:
        assert set(bundle.namelist()) == {"pyproject.toml", ".info/CONTENT"}
        described = tomllib.loads(bundle.read("pyproject.toml").decode())
    app = described["tool"]["flwr"]["app"]
    assert app["components"] == {
        "serverapp": "cohortium_server.app:app",
        "clientapp": "cohortium_client.app:app",
    }
    assert set(app["config"]) == {"federation", "out", "seed", "resume", "replace"}  # Flower refuses to set any other


def test_the_rest_of_the_simulation_starts_without_flower() -> None:
    modules = "sys, cohortium_simulation.partition, cohortium_simulation.federation"
    code = f"import {modules}; sys.exit('flwr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
