"""What runs in the containers beside the product: the health check, the joining script, the relay with its own packages."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from click import Context, Group
from deploying import DEPLOY, FEDERATION, IMAGES, Coordinator, free_port, locked

from cohortium.cli import build
from cohortium_client.custodian.institution import load_institution
from cohortium_client.relay import load_relay
from cohortium_server.membership.provisioning import provision

HEALTHY = IMAGES / "healthy.py"


def healthy(who: str, folder: Path) -> bool:
    done = subprocess.run([sys.executable, HEALTHY, who, folder], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert (done.returncode == 0) == (done.stderr == "")
    return done.returncode == 0


# Health


@pytest.fixture
def served(tmp_path: Path) -> Iterator[socket.socket]:
    """Somebody who listens at tmp_path/custodian.sock."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "custodian.sock"))
        listener.listen()
        yield listener


def test_a_custodian_and_its_relay_are_healthy_while_somebody_listens(served: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "relay").mkdir()
    assert not healthy("custodian", tmp_path)
    (tmp_path / "institution.toml").write_text('name = "north"\n')
    (tmp_path / "relay" / "relay.toml").write_text('socket = "../custodian.sock"\n')
    assert healthy("custodian", tmp_path)
    assert healthy("relay", tmp_path / "relay")
    served.close()
    assert not healthy("custodian", tmp_path)
    assert not healthy("relay", tmp_path / "relay")


def test_the_sockets_path_may_be_absolute(served: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "institution.toml").write_text(f'socket = "{tmp_path / "custodian.sock"}"\n')
    assert healthy("custodian", tmp_path / "elsewhere")


def test_a_coordinator_is_healthy_if_its_certificate_is_its_federations(tmp_path: Path) -> None:
    port = free_port()
    listening = FEDERATION.replace(":443", f":{port}")
    folders = []
    for name in ("ours", "another"):
        (tmp_path / f"{name}.toml").write_text(listening)
        folders.append(provision(tmp_path / f"{name}.toml", tmp_path / name).federation.folder)
    ours, another = folders
    assert not healthy("coordinator", ours)
    with Coordinator(ours, port):
        assert healthy("coordinator", ours)
    with Coordinator(another, port):
        assert not healthy("coordinator", ours)


# Joining


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    (tmp_path / "federation.toml").write_text(FEDERATION)
    return provision(tmp_path / "federation.toml", tmp_path / "FED").federation.folder / "kits" / "north.zip"


def test_join_makes_both_folders_for_their_users_and_changes_nothing_the_second_time(kit: Path, tmp_path: Path) -> None:
    site, relay, command = (
        tmp_path / "site",
        tmp_path / "relay",
        shutil.which("cohortium", path=Path(sys.executable).parent),
    )
    assert command
    (tmp_path / "visits.csv").write_text("age\n1\n")
    environment = {
        **os.environ,
        "PATH": f"{Path(command).parent}:{os.environ['PATH']}",
        "SITE": str(site),
        "RELAY": str(relay),
        "KIT": str(kit),
        "SOCKET": "/run/cohortium/custodian.sock",
        "WITNESS": "/var/lib/cohortium-witness/head",
    }
    joining = ["sh", DEPLOY / "join.sh", "--name", "north", "--data", tmp_path / "visits.csv", "--cap", "3"]
    cut_off = [command, "institution", "init", str(site), *joining[2:]]  # before join.sh said where the socket is
    assert subprocess.run(cut_off, env=environment, capture_output=True, check=False).returncode == 0
    kept = []
    for _ in range(2):
        done = subprocess.run(joining, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        kept.append({p: p.read_bytes() for folder in (site, relay) for p in folder.rglob("*") if p.is_file()})
    assert kept[0] == kept[1]
    opened = load_institution(site) if os.geteuid() else None
    file = (site / "institution.toml").read_text()
    assert 'socket = "/run/cohortium/custodian.sock"' in file
    assert "relay_uid = 10002" in file
    assert str(load_relay(relay).socket) == "/run/cohortium/custodian.sock"
    assert opened is None or opened.file.relay_uid == 10002
    if os.geteuid() == 0:
        owners = {p.stat().st_uid for p in site.rglob("*")}, {p.stat().st_uid for p in relay.rglob("*")}
        assert owners == ({10001}, {10002})
        assert (relay / "node.key").stat().st_mode & 0o777 == 0o600
    else:
        assert (relay / "node.key").stat().st_mode & 0o777 == 0o640


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter; pytest's own are its user's alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_in_kubernetes_the_relays_user_takes_over_without_anybody_being_root(kit: Path, open_folder: Path) -> None:
    """The Job's own scripts, as two users who share a group, in volumes that the group may write."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can be two users")
    custodian, relay = (["setpriv", "--groups=10001", f"--reuid={u}", f"--regid={u}"] for u in (10001, 10002))
    commands = os.environ.get("COHORTIUM_COMMANDS", str(Path(sys.executable).parent))
    environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "HOME": str(open_folder)}
    probe = [*custodian, "sh", "-c", "cohortium --help"]
    if subprocess.run(probe, env=environment, capture_output=True, check=False).returncode:
        pytest.skip("other users cannot run the command here")
    for name in ("site", "relay", "handover"):
        (open_folder / name).mkdir()
        os.chown(open_folder / name, 0, 10001)
        (open_folder / name).chmod(0o2775)
    shutil.copy(kit, open_folder / "kit.zip")
    (open_folder / "visits.csv").write_text("age\n1\n")
    site, took = open_folder / "site" / "cohortium", open_folder / "relay" / "relay"
    environment |= {"KIT": str(open_folder / "kit.zip"), "SITE": str(site)}
    places = {
        "/opt/cohortium/join.sh": str(DEPLOY / "join.sh"),
        "/handover": str(open_folder / "handover"),
        "/srv/relay": str(took),
    }
    job = yaml.safe_load((DEPLOY / "kubernetes/join/job.yaml").read_text().split("---")[0])["spec"]["template"]["spec"]
    joined, taken = job["initContainers"][0]["command"], job["containers"][0]
    reported = ["--name", "north", "--data", str(open_folder / "visits.csv"), "--cap", "3"]
    for user, command in ((custodian, [*joined, *reported]), (relay, [*taken["command"], *taken["args"]])):
        for old, new in places.items():
            command = [word.replace(old, new) for word in command]
        done = subprocess.run([*user, *command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert {(p.name, p.stat().st_uid, p.stat().st_mode & 0o777) for p in took.iterdir()} == {
        (name, 10002, 0o600) for name in ("relay.toml", "root.crt", "application.json", "node.key")
    }
    assert json.loads(done.stdout)["institution"] == "north"
    key = (site / "institution.key").stat()
    assert (key.st_uid, key.st_mode & 0o777) == (10001, 0o600)


# The relay's own packages

RELAY_ALONE = """
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

allowed = set(sys.argv[1].split())
ours = {"cohortium", "cohortium_client", "cohortium_server", "cohortium_simulation"}
of = packages_distributions()

class Absent:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        from_ = {d.lower().replace("_", "-") for d in of.get(top, ())}
        if from_ and top not in ours and not from_ & allowed:
            raise ModuleNotFoundError(f"No module named {name!r} in the relay's image", name=name)

sys.meta_path.insert(0, Absent())
from cohortium.cli import build
build()
import cohortium_client.app, cohortium_client.relay_preflight
import cohortium_client.flower.node, cohortium_client.flower.launcher
from cohortium.flower.environment import prepare
from cohortium import flower_names
from cohortium_client.flower.relay import LOOK_EVERY
prepare(Path("."), LOOK_EVERY, flower_names.NODE, flower_names.NODE_APP, flower_names.CLIENTAPP)
try:
    import pandas
except ModuleNotFoundError:
    print("alone")
"""


def test_the_relay_needs_nothing_but_what_its_image_has() -> None:
    allowed = " ".join(locked("relay"))
    done = subprocess.run([sys.executable, "-c", RELAY_ALONE, allowed], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alone\n"), done.stderr[-1000:]


# Commands


def words() -> Iterator[tuple[str, list[str]]]:
    """Every call of cohortium in deploy/: in documents, units, manifests, compose files and scripts."""
    for path in sorted(p for p in DEPLOY.rglob("*") if p.suffix in (".md", ".service", ".conf", ".yaml", ".sh")):
        text = path.read_text().replace("\\\n", " ")
        for line in text.splitlines():
            for call in re.findall(
                r"(?<![\w/.-])(?:/opt/cohortium/bin/)?cohortium ((?:[a-z]+ )+[^|;`&#\"']*)", line.split("  #")[0]
            ):
                yield str(path.relative_to(DEPLOY)), call.split()
            for listed in re.findall(r"(?:args|command): \[((?:institution|coordinator), [^\]]*)\]", line):
                yield str(path.relative_to(DEPLOY)), [w.strip().strip('"') for w in listed.split(",")]
    for what in re.findall(r"^CMD (\[.*\])$", (IMAGES / "Dockerfile").read_text(), re.MULTILINE):
        yield "images/Dockerfile", json.loads(what)


def test_every_command_that_is_documented_exists_with_its_options() -> None:
    root = typer.main.get_command(build())
    reported = 0
    for where, call in words():
        command, context, rest = root, Context(root), list(call)
        while isinstance(command, Group) and rest:
            command = command.get_command(context, rest.pop(0))
        if command is None or isinstance(command, Group):
            assert call[0] not in root.list_commands(context), f"{where}: cohortium {' '.join(call)}"  # prose
            continue
        options = {o for p in command.params for o in p.opts}
        for word in rest:
            if word.startswith("--"):
                assert word.rstrip(",.") in options, f"{where}: cohortium {' '.join(call)}"
        reported += 1
    assert reported > 20
