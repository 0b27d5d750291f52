"""Lines of one shape, whatever happens and whoever speaks, and never a value in them."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from enlisted import agree, consents, custodian, key_of, refusal, request, with_keys
from hypothesis import given
from hypothesis import strategies as st

from cohortium.data.columns import Boolean
from cohortium.data.encoding import Codes, encode
from cohortium.data.schema import Schema
from cohortium.errors import FederationError, InputError, SchemaError, StudyError, WireError
from cohortium.federation import wire
from cohortium.ledger.store import Ledger
from cohortium.study import consent
from cohortium.study.generators import Sweep
from cohortium.study.study import Institution, Privacy, Study
from cohortium.system import logs
from cohortium.system.output import guarded, print_status
from cohortium_client.custodian.agreements import agree as sign
from cohortium_client.custodian.institution import init_institution
from cohortium_client.custodian.policy import Policy
from cohortium_client.socket.service import Connection, _answered
from cohortium_client.source.source import load_source
from cohortium_server.rounds.journal import BriefJournal
from cohortium_server.rounds.rounds import run_study

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

CANARY = "SECRET-CANARY-4711"
STUDY = Study(
    name="clinics",
    schema=Schema(columns=(Boolean(name="a", nullable=True), Boolean(name="b", nullable=True))),
    privacy=Privacy(epsilon=2.0, delta=1e-6),
    generator=Sweep(components=10),
    institutions=with_keys("north", "south"),
)
HOOKS = ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook"), (warnings, "showwarning"))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., StringIO]]:
    """Sets logging up as a process does, writing into what is returned; all is as it was after the test."""
    for where, name in (*HOOKS, (logging, "lastResort"), (logs, "_set_up")):
        monkeypatch.setattr(where, name, getattr(where, name))
    root = logging.getLogger()
    loggers = [root, *(o for o in root.manager.loggerDict.values() if isinstance(o, logging.Logger))]
    before = [(one, list(one.handlers), one.level, one.propagate) for one in loggers]

    def begin(style: str = "json", **how: Any) -> StringIO:
        stream = StringIO()
        logs.set_up("custodian", logs.Style(style), stream=stream, **how)
        return stream

    yield begin
    for name in (*logs.TALKATIVE, logs.OURS):
        logging.getLogger(name).__dict__.pop("addHandler", None)
    for one, handlers, level, propagate in before:
        one.handlers[:], one.propagate = handlers, propagate
        one.setLevel(level)


def objects(stream: StringIO) -> list[dict[str, Any]]:
    """Every line as the one object of declared keys that it must be."""
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    for one in found:
        assert set(one) <= set(logs.KEYS)
        assert {"at", "level", "process", "logger", "message"} <= set(one)
        assert one["process"] == "custodian"
        assert one["at"].endswith("Z") and len(one["at"]) == len("2026-11-22T12:04:54.876Z")
    return found


def codes(study: Study, rows: int = 20) -> Codes:
    table = pd.DataFrame({"a": [True, False] * (rows // 2), "b": [False, None] * (rows // 2)})
    return encode(table, study.schema)


# What a custodian writes


def test_an_answer_and_a_refusal_are_a_line_each_with_their_place(
    tmp_path: Path, written: Callable[..., StringIO]
) -> None:
    stream = written()
    with Ledger(tmp_path / "l.sqlite") as ledger:
        agree(ledger, STUDY)
        behind = custodian(ledger, codes, STUDY, policy=Policy(epsilon_per_population=3.0))
        behind.answer(request(STUDY))
        assert behind.answer(request(STUDY, run="cd" * 16)) == refusal("E_ANSWERED")
        assert behind.answer(b"no message\n") == refusal("E_WIRE")
    answered, refused, malformed = objects(stream)
    place = {"study": STUDY.digest, "round": 0, "attempt": 0}
    assert answered.items() >= {**place, "run": "ab" * 16, "level": "info"}.items() and "code" not in answered
    assert refused.items() >= {**place, "run": "cd" * 16, "level": "warning", "code": "E_ANSWERED"}.items()
    assert malformed["code"] == "E_WIRE" and "run" not in malformed


def raising(error: BaseException) -> Callable[[Study], Codes]:
    def table(_: Study) -> Codes:
        raise error

    return table


FAILURES: dict[str, BaseException] = {
    "a driver": ValueError(CANARY),
    "a key": KeyError(CANARY),
    "an error that prints itself": type("OddError", (Exception,), {"__str__": lambda _: CANARY})(),
    "an error about data": InputError("E_CSV_PARSE", f"row 4711 {CANARY}", CANARY, CANARY),
    "an error about a schema": SchemaError("E_SCHEMA_INVALID", CANARY, CANARY, CANARY),
    "an error that may be shown elsewhere": StudyError("E_PLAN_INVALID", CANARY, CANARY, CANARY),
    "a group": ExceptionGroup(CANARY, [ValueError(CANARY)]),
}


@pytest.mark.parametrize("what", FAILURES)
@pytest.mark.parametrize("style", ["json", "text"])
def test_whatever_fails_beside_the_data_no_line_quotes_it(
    tmp_path: Path, written: Callable[..., StringIO], what: str, style: str
) -> None:
    stream = written(style)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        agree(ledger, STUDY)
        reported = custodian(ledger, raising(FAILURES[what]), STUDY).answer(request(STUDY))
    assert reported == refusal("E_CUSTODIAN")
    assert len(stream.getvalue().splitlines()) == 1
    assert CANARY not in stream.getvalue() and "4711" not in stream.getvalue()
    if style == "json":
        assert objects(stream)[0]["code"] == "E_CUSTODIAN"
        assert objects(stream)[0]["run"] == "ab" * 16
    else:
        assert "E_CUSTODIAN" in stream.getvalue()


def test_an_error_about_data_says_its_own_code(tmp_path: Path, written: Callable[..., StringIO]) -> None:
    stream = written()
    with Ledger(tmp_path / "l.sqlite") as ledger:
        agree(ledger, STUDY)
        custodian(ledger, raising(FAILURES["an error about data"]), STUDY).answer(request(STUDY))
        custodian(ledger, raising(FAILURES["an error that may be shown elsewhere"]), STUDY).answer(request(STUDY))
    assert [o["message"].split(":")[1].strip() for o in objects(stream)] == ["E_CSV_PARSE", "E_PLAN_INVALID"]


TABLES = {
    "a row too long": f"a,b\nTrue,False\nTrue,{CANARY},True\n",
    "a value of no category": f"a,b\n{CANARY},False\n",
    "a column that is missing": f"a,{CANARY}\nTrue,1\n",
    "bytes that are no text": f"a,b\nTrue,{CANARY}\xff\n",
    "a quote without end": f'a,b\nTrue,"{CANARY}\n',
}


@pytest.mark.parametrize("what", TABLES)
def test_a_table_that_fails_is_not_quoted(tmp_path: Path, written: Callable[..., StringIO], what: str) -> None:
    """Through the institution's own folder, as it is read in earnest."""
    (tmp_path / "table.csv").write_bytes(TABLES[what].encode("latin-1"))
    policy = {"epsilon_per_population": 10.0, "delta": 1e-6}
    institution = init_institution(tmp_path, "north", {"path": "table.csv"}, "patients", policy)
    stream = written()
    with Ledger(tmp_path / "l.sqlite") as ledger:
        agree(ledger, STUDY)

        def table(study: Study) -> Codes:
            return load_source(institution.file.source, institution.folder, study.schema)

        custodian(ledger, table, STUDY).answer(request(STUDY))
    assert len(objects(stream)) == 1
    assert CANARY not in stream.getvalue()


class Failing:
    def __init__(self, what: Any) -> None:
        self.what = what

    def answer(self, _: bytes) -> bytes:
        if isinstance(self.what, BaseException):
            raise self.what
        answer: bytes = self.what
        return answer


@pytest.mark.parametrize("what", [*FAILURES.values(), CANARY.encode(), CANARY])
def test_what_fails_behind_the_socket_is_not_quoted(written: Callable[..., StringIO], what: Any) -> None:
    stream = written()
    _answered(Failing(what), b"", 1 << 20)
    assert [o["code"] for o in objects(stream)] == ["E_CUSTODIAN"]
    assert CANARY not in stream.getvalue()


# Who else speaks


def test_libraries_are_not_quoted_where_there_are_data(written: Callable[..., StringIO]) -> None:
    stream = written()
    for name in ("pandas", "sqlalchemy.engine.Engine", "flwr", "grpc._server", "uvicorn.error"):
        logging.getLogger(name).error("cell %s", CANARY)
        logging.getLogger(name).error(CANARY, exc_info=ValueError(CANARY))
    warnings.warn(CANARY, stacklevel=1)
    assert len(objects(stream)) == 11
    assert CANARY not in stream.getvalue()
    assert "UserWarning at test_logs.py" in stream.getvalue()


def test_libraries_are_quoted_elsewhere_but_their_exceptions_are_not(written: Callable[..., StringIO]) -> None:
    stream = written(quoting=True)
    logging.getLogger("flwr").info("a node\n\tis\x1b[31m online: %s", "north")
    logging.getLogger("flwr").error("failed: %s", ValueError(CANARY))
    logging.getLogger("flwr").error("failed: %(why)s", {"why": ValueError(CANARY)})
    logging.getLogger("flwr").error(ValueError(CANARY))
    logging.getLogger("flwr").error("failed", exc_info=ValueError(CANARY))
    first, *others = objects(stream)
    assert first["message"] == "a node is\x1b[31m online: north"
    assert CANARY not in stream.getvalue()
    assert others[-1]["error"] == "ValueError at no place"


LATE = """
import logging, logging.config, sys
from cohortium.system.logs import set_up
set_up("link", quoting=True)
from cohortium.flower.internals import private
from cohortium.flower_names import EVERY_SECOND, HTTP_LOG, LOG, Api, Call
logging.config.dictConfig(private(HTTP_LOG).get_uvicorn_log_config(logging.INFO))
private(LOG).log(logging.INFO, "")
private(LOG).log(logging.INFO, EVERY_SECOND[1])
private(LOG).log(logging.INFO, "one")
logging.getLogger("uvicorn.error").info("two")
access = logging.getLogger("uvicorn.access")
for path, status in ((Call.PULL_MESSAGES, 200), (Call.PULL_MESSAGES, 401), (f"{Api.CONTROL}x", 200)):
    access.info('%s - "%s %s HTTP/%s" %d', "10.0.0.1:99", "POST", path, "1.1", status)
"""


def test_who_adds_a_way_out_later_speaks_through_ours_all_the_same() -> None:
    """Flower adds one when it is imported, and uvicorn when it starts."""
    done = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, env={"COHORTIUM_LOG": "json"}, check=True
    )
    reported = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    assert [t.rpartition(" ")[2] for t in reported] == ["one", "two", "401", "200"]
    assert done.stdout == ""


def test_an_uncaught_error_is_reported_without_its_text() -> None:
    """In a process of its own: the main thread, another, and a finalizer."""
    program = (
        "import threading\nfrom cohortium.system.logs import set_up\nset_up('custodian')\n"
        f"one = threading.Thread(target=lambda: int('{CANARY}'))\none.start()\none.join()\n"
        f"class Odd:\n    def __del__(self):\n        raise ValueError('{CANARY}')\nOdd()\n"
        f"int('{CANARY}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"COHORTIUM_LOG": "json"}, check=False
    )
    assert done.returncode == 1
    reported = [json.loads(line) for line in done.stderr.splitlines()]
    assert [t["error"].split()[0] for t in reported] == ["ValueError"] * 3
    assert CANARY not in done.stderr + done.stdout


def test_messages_for_people_are_log_lines_too(written: Callable[..., StringIO]) -> None:
    from click.exceptions import Exit

    stream = written()
    print_status("two\nlines")
    with pytest.raises(Exit) as caught, guarded():
        raise WireError("E_WIRE", "message", "it is none", "Send one.")
    assert caught.value.exit_code == 15
    first, second = objects(stream)
    assert first["message"] == "two lines"
    assert second.items() >= {"code": "E_WIRE", "level": "error"}.items()


def test_without_json_people_are_spoken_to_as_before(
    written: Callable[..., StringIO], capsys: pytest.CaptureFixture[str]
) -> None:
    stream = written("text")
    print_status("hello")
    assert (stream.getvalue(), capsys.readouterr().err) == ("", "hello\n")


def test_a_coordinator_says_what_it_asked_who_refused_and_what_is_complete(
    tmp_path: Path, written: Callable[..., StringIO]
) -> None:
    """And nothing that a node calls itself."""

    class Custodians:
        def __init__(self, *behind: Any) -> None:
            self.behind = behind

        def announce(self, request: bytes) -> None:
            pass

        def exchange(self, request: bytes, timeout: float) -> list[bytes]:
            return [b.answer(request) for b in self.behind]

    stream, journal = written(), BriefJournal(seed=1)
    with Ledger(tmp_path / "n.sqlite") as north, Ledger(tmp_path / "s.sqlite") as south:
        agree(north, STUDY)
        agree(south, STUDY)
        here = [custodian(one, codes, STUDY, name=name) for one, name in ((north, "north"), (south, "south"))]
        odd = Failing(wire.encode_refusal(wire.Refusal(CANARY, "E_POLICY")))
        no = Failing(wire.encode_refusal(wire.Refusal("south", "E_BUDGET")))
        with pytest.raises(FederationError):
            run_study(STUDY, consents(STUDY), Custodians(here[0], odd, no), journal)
        run_study(STUDY, consents(STUDY), Custodians(*here), journal)
    reported = [o for o in objects(stream) if o["logger"] == "cohortium.rounds"]
    assert [o["message"] for o in reported] == [
        "asked: answer", "round 0: refused by a node", "round 0: refused by south", "asked: answer", "round 1 of 1 is complete",
        "announced: the run has ended",
    ]  # fmt: skip
    assert [o.get("code") for o in reported] == [None, "E_POLICY", "E_BUDGET", None, None, None]
    assert {o["run"] for o in reported} == {journal.run}
    assert CANARY not in stream.getvalue()


def _asked(study: Study, signatures: dict[str, str]) -> bytes:
    return wire.encode_request(wire.Request(study.digest, "ab" * 16, 0, 0, b"", signatures))


def test_a_custodian_that_is_served_writes_nothing_but_lines_of_json(tmp_path: Path) -> None:
    """A process as an institution runs it: asked for nonsense, for what it cannot answer, and to stop."""
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders make a socket's path too long
        folder = Path(place) / "n"
        folder.mkdir()
        (folder / "table.csv").write_text(f"a,{CANARY}\nTrue,{CANARY}\n")
        policy = {"epsilon_per_population": 10.0, "delta": 1e-6}
        institution = init_institution(folder, "north", {"path": "table.csv"}, "patients", policy)
        named = (Institution(name="north", key=institution.identity.public), *with_keys("south"))
        study = replace(STUDY, institutions=named)
        with institution.ledger() as ledger:
            ours = sign(study, institution.identity, institution.policy, ledger, institution.agreements)
        signatures = {"north": ours, "south": consent.sign(study, "south", key_of("south"))}
        command = [sys.executable, "-m", "cohortium", "institution", "serve", str(folder), "--log", "json"]
        serving = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            at = Connection(institution.socket, wait=60)
            reported = [at.answer(asked) for asked in (b"?", request(STUDY), _asked(study, signatures))]
            serving.send_signal(signal.SIGTERM)
            out, err = serving.communicate(timeout=60)
        finally:
            serving.kill()
    assert reported == [refusal("E_WIRE"), refusal("E_PLAN_UNTRUSTED"), refusal("E_CUSTODIAN")]
    lines = [json.loads(line) for line in err.splitlines()]
    assert [o.get("code") for o in lines] == [None, "E_WIRE", "E_PLAN_UNTRUSTED", "E_CUSTODIAN", None]
    assert all(set(o) <= set(logs.KEYS) and o["process"] == "custodian" for o in lines)
    assert (serving.returncode, out, CANARY in err) == (0, "", False)


# The shape


@given(st.text(), st.text(), st.one_of(st.none(), st.text(), st.integers()))
def test_every_record_is_one_line_and_one_object(message: str, name: str, argument: Any) -> None:
    for style in logs.Style:
        for quoting in (False, True):
            lines = logs._Lines("custodian", style, quoting)
            record = logging.LogRecord(name or "x", logging.INFO, __file__, 1, message, (argument,), None)
            text = lines.format(record)
            assert len(text.splitlines()) == 1
            if style is logs.Style.JSON:
                assert set(json.loads(text)) <= set(logs.KEYS)


@pytest.mark.parametrize(("said", "style"), [("json", "json"), ("text", "text"), ("", "text"), ("xml", "text")])
def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch, said: str, style: str) -> None:
    monkeypatch.setenv("COHORTIUM_LOG", said)
    assert logs.wanted() == style


def test_the_keys_are_those_of_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "logs.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert [k.strip(" `") for row in rows for k in row.split(",")] == list(logs.KEYS)


def test_numbers_of_a_table_are_in_no_line(tmp_path: Path, written: Callable[..., StringIO]) -> None:
    """The lines of an answer are the same for tables of 4,712 rows and of two, but for the time."""
    reported = []
    for rows in (2, 4712):
        stream = written()
        with Ledger(tmp_path / f"{rows}.sqlite") as ledger:
            agree(ledger, STUDY)
            custodian(ledger, lambda study, rows=rows: codes(study, rows), STUDY).answer(request(STUDY))
        reported.append([{k: v for k, v in o.items() if k != "at"} for o in objects(stream)])
    assert reported[0] == reported[1] != []
