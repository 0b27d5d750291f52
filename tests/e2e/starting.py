"""What is begun wrongly is refused at once, in one line, and what dies again and again is reported; the nightly form of test_starting.

    python tests/e2e/starting.py          (make kills)

Makes each mistake with the commands themselves, in a federation that is being served, and prints what each was answered with.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from deployed import COHORTIUM, Deployed, Served, deployed, until
from killing import NAMES, SCHEMA, STUDY, check, people, signed

from cohortium.errors import FederationError

TRAINED = 'kind = "autoregressive"\nrounds = 1\nhidden = 8'
ENDS_WITHIN = 1800.0  # seconds: three fits
LONGEST = 3.0  # seconds of a processor that a refusal may take
FAILING = """
import os, sys
import cohortium_server.release as release

own = release.write_release

def write_release(*words, **more):
    if os.path.exists({flag!r}):
        raise ValueError("SECRET-CANARY")
    return own(*words, **more)

release.write_release = write_release
from cohortium.cli import main

main()
"""


@dataclass
class Refusal:
    code: int
    line: str
    seconds: float  # of a processor


def refusal(made: Deployed, *words: object) -> Refusal:
    """What a command that serves answers with, which ends by itself."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*COHORTIUM, *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=made.folder, env={**os.environ, **made.home}
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    reported = (done.stdout + done.stderr).strip()
    assert "\n" not in reported, reported
    return Refusal(done.returncode, reported, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def require(made: Deployed, what: str, code: str, *words: object) -> None:
    found = refusal(made, *words)
    print(f"{what}: {found.code}, {found.seconds:.1f} s of a processor: {found.line}", flush=True)
    assert found.line.startswith(f"{code}: "), found
    assert found.code >= 10, found
    assert found.seconds <= LONGEST, found


def twice(made: Deployed) -> None:
    """Everything is served already."""
    site, relay = made.site(NAMES[0]), made.relay(NAMES[0])
    knocks = made.coordinator.log.read_text().count("knocks")
    require(made, "a custodian twice", "E_LEDGER_UNAVAILABLE", "institution", "serve", site, "--without-relay")
    require(made, "a relay twice", "E_INSTITUTION", "institution", "relay", relay)
    require(made, "a coordinator twice", "E_FEDERATION", "coordinator", "serve", made.fed)
    assert made.coordinator.log.read_text().count("knocks") == knocks, "nobody knocked meanwhile"
    assert made.all_online()


def knocking_once(made: Deployed) -> None:
    """A node that is killed knocks until the one before it is missed, and is reported once."""
    name = NAMES[0]
    before = made.coordinator.log.read_text().count("knocks")
    pid = made.relays[name].child("node")
    assert pid is not None
    os.kill(pid, 9)
    until(lambda: (new := made.relays[name].child("node")) is not None and new != pid, "another node")
    until(lambda: made.relays[name].log.read_text().count("SuperNode ID") >= 2, "it is let in")
    log = made.coordinator.log.read_text()
    assert log.count("knocks") <= before + 1
    assert "BEGIN PUBLIC KEY" not in log + made.relays[name].log.read_text()


def falling(made: Deployed, flag: Path) -> None:
    """A study's process fails at its release three times; the run has failed, is reported, and is resumed."""
    study = signed(made, STUDY.format(serial=1, rounds=1).replace(TRAINED, 'kind = "sweep"'))
    out = made.folder / "out" / "release-1"
    ordered = made.order(study, out)
    assert ordered.process is not None
    until(lambda: ordered.process is None or ordered.process.poll() is not None, "the run has failed", ENDS_WITHIN)
    output = ordered.log.read_text()
    assert ordered.process.poll() == FederationError.exit_code, output
    assert output.count("is started again") == 2, output
    assert "E_PROCESS" in output, output
    run = made.run_folder
    status = made.say("coordinator", "status", run, uid=made.coordinator_user)
    assert "failed" in status, status
    assert "ValueError at" in status, status
    flag.unlink()
    check(made, made.resume(run), run, 1)
    assert "SECRET-CANARY" not in made.logs()


def before_the_coordinator(made: Deployed) -> None:
    """An institution that begins first waits with one line, and comes in by itself."""
    name = NAMES[0]
    made.custodians[name].start()
    made.relays[name].start()
    log = made.relays[name].log
    until(lambda: log.exists() and "Trying again until it succeeds" in log.read_text(), "it is said that it waits")
    time.sleep(10)
    assert log.read_text().count("Trying again until it succeeds") == 1
    assert log.read_text().count("has ended") == 0


def main() -> None:
    tables = {name: people(seed) for seed, name in enumerate(NAMES)}
    with deployed(SCHEMA, tables, cap=1000.0) as made:
        flag, script = made.folder / "fail", made.folder / "failing.py"
        flag.touch()
        script.write_text(FAILING.format(flag=str(flag)))
        own: Served = made.coordinator
        own.command = [
            w
            for part in own.command
            for w in ([str(script)] if part == "cohortium" else [part] if part != "-m" else [])
        ]
        before_the_coordinator(made)
        for one in made.parts:
            if one.process is None:
                one.start()
        until(made.all_online, "everybody is online")
        twice(made)
        knocking_once(made)
        until(made.all_online, "everybody is online again")
        falling(made, flag)
    print("all were refused, reported and resumed as they should be")


if __name__ == "__main__":
    main()
