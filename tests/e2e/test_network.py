"""Seen from another machine: what answers and what does not, and a study over a network that fails in the middle of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deployed import FIRST_UID, Served, ancestors, as_user, deployed, processes, until
from killing import NAMES, SCHEMA, asked, begin, check, complete, people
from network import HERE, elsewhere

from cohortium.flower_names import Api, Call
from cohortium_server.membership.federation import load_federation

ROUND = Call.LIST_RUNS.removeprefix("/v1")  # what a path that goes up from the fleet's would reach
PROBE = Path(__file__).parent / "probe.py"
FAR = NAMES[0]  # the institution on the other machine
CLOSED = (
    Call.LIST_RUNS,
    Call.START_RUN,
    Call.REGISTER_MEMBER,
    Call.ACQUIRE_TASK,
    Call.PULL_APP_MESSAGES,
    Api.HEALTH,
    "/docs",
    "/openapi.json",
    "/metrics",
    "/",
    Api.FLEET.rstrip("/"),
    f"/{Api.FLEET}..{ROUND}",
    f"{Api.FLEET}..{ROUND}",
    f"{Api.FLEET}%2e%2e{ROUND}",
    f"{Api.FLEET}..%2f{ROUND[1:]}",
    Call.LIST_RUNS.replace(Api.CONTROL, Api.CONTROL.upper()),
)
OTHERS = ("/docs", "/openapi.json", "/", Call.LIST_RUNS, Call.PULL_MESSAGES)  # at a node's own port
FLEET = (Call.PULL_MESSAGES, Call.ACTIVATE_NODE, Call.REGISTER_NODE)


def listening(served: Served) -> set[int]:
    """The TCP ports at which its processes listen, wherever."""
    found = subprocess.run(["ss", "-Hltnp"], check=True, capture_output=True, text=True).stdout.splitlines()
    ours = {pid for pid, _, _ in processes() if served.pid in {pid, *ancestors(pid)}}
    return {int(line.split()[3].rpartition(":")[2]) for line in found if any(f"pid={pid}," in line for pid in ours)}


@pytest.mark.timeout(1800)
def test_another_machine_sees_the_fleet_alone_and_a_study_outlives_the_network() -> None:
    with elsewhere() as there, deployed(SCHEMA, {n: people(i) for i, n in enumerate(NAMES)}, host=HERE) as made:
        far = made.relays[FAR]
        far.command[:] = [*there.inside, *far.command]
        made.serve()
        federation = load_federation(made.fed)
        ports = listening(made.coordinator)
        assert {federation.listen.port, federation.control.port} <= ports

        root, public = str(federation.root_certificate), federation.listen.port
        probe = [*there.inside, sys.executable, str(PROBE), root, HERE]
        for port in ports - {public}:
            assert outcome([*probe, str(port)]) == "refused", port
        for path in CLOSED:
            assert outcome([*probe, str(public), path]) == 404, path
        for path in FLEET:
            assert outcome([*probe, str(public), path]) not in (200, 404), f"{path}: an unsigned request"
        here = [sys.executable, str(PROBE), root, "127.0.0.1", str(federation.control.port)]
        assert outcome([*here, CLOSED[0]]) == 404
        assert outcome([*here, CLOSED[0], "0" * 64]) == 404
        assert outcome([*here, CLOSED[0], federation.control_secret.read_text().strip()]) == 200

        (port,) = listening(made.relays[NAMES[1]])
        stranger = [*as_user(FIRST_UID + 99 if made.others else None), sys.executable, str(PROBE), "-", "127.0.0.1"]
        for path in (Call.ACQUIRE_TASK, Call.PULL_APP_MESSAGES, *OTHERS):
            assert outcome([*stranger, str(port), path]) == (404 if path in OTHERS else 401), path

        there.slow("2mbit")
        ordered, run = begin(made, 1, 3)
        until(lambda: asked(run, 1) and not complete(run, 1), "a round is under way")
        there.cut()
        time.sleep(25)  # longer than a node is waited for until it counts as lost
        there.mend()
        check(made, ordered, run, 1)


def outcome(command: list[str]) -> object:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout)
