"""deploy/: every file is read by what it is meant for, where that is installed, and keeps to the rules of deploy/README.md."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploying import DEPLOY, IMAGES, ROOT, locked
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cohortium.errors import (
    FederationError,
    InputError,
    LedgerError,
    MembershipError,
    PolicyError,
    SchemaError,
    SecretError,
    StudyError,
    WireError,
)

SYSTEMD, MONITORING, COMPOSE = (DEPLOY / n for n in ("systemd", "monitoring", "compose"))
LOCKS = ("build", "relay", "cpu", "cuda")
UNITS = ("cohortium-coordinator.service", "cohortium-custodian@.service", "cohortium-relay@.service")


class Loader(yaml.SafeLoader):
    """YAML as Compose writes it: ``!reset`` takes away what another file says."""


Loader.add_constructor("!reset", lambda loader, node: None)


def documents(text: str) -> list[Any]:
    return [d for d in yaml.load_all(text, Loader) if d is not None]


def program(name: str) -> str:
    if (found := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path, cwd: Path = DEPLOY) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False)


def files(*patterns: str) -> list[Path]:
    found = sorted(p for pattern in patterns for p in DEPLOY.rglob(pattern))
    assert found
    return found


def named(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


# All files


@pytest.mark.parametrize("path", files("*.yaml", "*.json", "*.toml"), ids=named)
def test_it_can_be_read(path: Path) -> None:
    text = path.read_text()
    if path.suffix == ".yaml":
        assert documents(text)
    elif path.suffix == ".json":
        assert json.loads(text)
    else:
        assert tomllib.loads(text)


@pytest.mark.parametrize("path", files("*.sh"), ids=named)
def test_scripts_have_no_faults_that_shellcheck_knows(path: Path) -> None:
    done = run(program("shellcheck"), path)
    assert done.returncode == 0, done.stdout


def test_no_file_holds_a_secret() -> None:
    secret = re.compile(r"PRIVATE KEY|(password|token|secret)\s*[:=]\s*[\"']?[A-Za-z0-9+/_-]{12,}", re.IGNORECASE)
    kept = subprocess.run(["git", "ls-files", "deploy"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    texts = {name: (ROOT / name).read_text() for name in kept.splitlines() if (ROOT / name).is_file()}
    assert texts
    assert [n for n, text in texts.items() if "requirements-" not in n and secret.search(text)] == []


@pytest.mark.parametrize("path", files("*.md"), ids=named)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
        if target != "../docs/deploy.md":  # written with the commands
            assert (path.parent / target).exists(), target


# Images


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (IMAGES / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, its own only."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for what, rest in instructions():
        if what == "FROM":
            name = rest.split(" AS ")[1]
            found[name] = []
        if name:
            found[name].append((what, rest))
    return found


def test_images_are_made_from_a_pinned_base_and_each_other() -> None:
    base = next(rest for what, rest in instructions() if what == "ARG").removeprefix("BASE=")
    assert re.fullmatch(r"[a-z/.]+:[0-9][\w.-]+(@sha256:[0-9a-f]{64})?", base)
    made = stages()
    assert {own[0][1].split(" AS ")[0] for own in made.values()} == {"${BASE}", "common"}


@pytest.mark.parametrize("target", ["coordinator", "custodian", "relay"])
def test_an_image_runs_as_a_user_and_reports_its_health(target: str) -> None:
    own = stages()[target]
    users = [rest for what, rest in own if what == "USER"]
    assert [re.fullmatch(r"100\d\d:100\d\d", u) is not None for u in users] == [True]
    afterwards = [what for what, _ in own[own.index(("USER", users[0])) :]]
    assert "RUN" not in afterwards
    health = next(rest for what, rest in own if what == "HEALTHCHECK")
    assert re.search(rf'"/opt/cohortium/healthy.py", "{target}"', health)


def test_whatever_is_installed_in_an_image_has_a_known_hash() -> None:
    for what, rest in instructions():
        assert what not in ("ADD", "ONBUILD")
        assert not re.search(r"curl|wget|apt-get|https?://", rest)
        for install in re.findall(r"pip install [^&]*", rest):
            of_ours = "--no-index /wheels/*.whl" in install and "--no-deps" in install
            assert of_ours or ("--require-hashes" in install and "--only-binary :all:" in install)


def test_no_image_is_given_a_secret_to_keep() -> None:
    for what, rest in instructions():
        if what in ("ARG", "ENV", "COPY"):
            assert not re.search(r"password|token|secret|\.key|pip\.conf", rest, re.IGNORECASE)
    let_in = [x for x in (IMAGES / "Dockerfile.dockerignore").read_text().splitlines() if x.startswith("!")]
    assert (IMAGES / "Dockerfile.dockerignore").read_text().splitlines()[1] == "*"
    assert set(let_in) <= {
        *(f"!{n}" for n in ("pyproject.toml", "README.md", "LICENSE", "common", "client", "server", "simulation")),
        *(f"!deploy/images/{n}" for n in ("healthy.py", "requirements-*.txt", "wheels/*.whl", "wheels/README.md")),
        "!deploy/join.sh",
        "!tools/backend.py",
    }


def test_what_is_copied_into_an_image_is_there_and_let_in() -> None:
    patterns = [x[1:] for x in (IMAGES / "Dockerfile.dockerignore").read_text().splitlines() if x.startswith("!")]
    for what, rest in instructions():
        if what == "COPY" and "--from=" not in rest:
            for source in [s for s in rest.split()[:-1] if not s.startswith("--")]:
                source = source.replace("${TORCH}", "cpu")
                assert (ROOT / source).exists()
                assert any(Path(source).match(p) for p in patterns), source


# Locked wheels


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_hash_and_no_address(name: str) -> None:
    assert min(hashes for _, hashes in locked(name).values()) >= 1
    assert not re.search(
        r"https?://|file:|--(extra-)?index|--find-links", (IMAGES / f"requirements-{name}.txt").read_text()
    )


@pytest.mark.parametrize("name", LOCKS)
def test_locks_have_the_versions_of_constraints(name: str) -> None:
    pins = (Requirement(x) for x in (ROOT / "constraints.txt").read_text().splitlines() if x and not x.startswith("#"))
    pinned = {canonicalize_name(p.name): p.specifier for p in pins}
    for package, (version, _) in locked(name).items():
        fits = pinned.get(package)
        assert fits is None or version in fits, f"{package}: run deploy/images/lock.sh"


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_locks_hold_all_that_the_product_needs(name: str) -> None:
    found = locked(name)
    for text in [*project()["dependencies"], *project()["optional-dependencies"]["postgresql"]]:
        needed = Requirement(text)
        assert found[canonicalize_name(needed.name)][0] in needed.specifier, f"{text}: run deploy/images/lock.sh"
    torch = found["torch"][0]
    assert (torch.local == "cpu") == (name == "cpu")
    assert any(p.startswith("nvidia-") for p in found) == (name == "cuda")


def test_the_relay_has_what_it_imports_and_nothing_of_what_holds_data() -> None:
    found, asked = locked("relay"), (IMAGES / "relay.in").read_text().splitlines()
    assert {canonicalize_name(x) for x in asked if not x.startswith("#")} <= set(found)
    assert set(found) & {"torch", "pandas", "pyarrow", "scipy", "scikit-learn", "psycopg", "matplotlib", "jax"} == set()
    ranges = {canonicalize_name(r.name): r.specifier for r in map(Requirement, project()["dependencies"])}
    assert [p for p, (version, _) in found.items() if p in ranges and version not in ranges[p]] == []


# Compose


def services(*names: str) -> dict[str, Any]:
    return {n: s for name in names for n, s in documents((COMPOSE / name).read_text())[0]["services"].items()}


BOTH = services("coordinator.yaml", "institution.yaml")


def mounted(service: dict[str, Any]) -> dict[str, bool]:
    """Where something is mounted, and whether it may be written."""
    return {v["target"]: not v.get("read_only", False) for v in service["volumes"]}


@pytest.mark.parametrize("name", BOTH)
def test_a_container_can_do_no_more_than_it_needs(name: str) -> None:
    service = BOTH[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"pids_limit", "mem_limit", "user", "init", "logging"} <= set(service)
    assert not {"privileged", "pid", "ipc", "devices", "env_file", "network"} & set(service)
    assert "docker.sock" not in json.dumps(service)
    assert not re.search(r"latest|^[^:]+$", service["image"])
    if name == "join":  # gives the two folders away, and does not stay
        assert service["profiles"] == ["join"]
        assert set(service["cap_add"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER"}
    else:
        assert "cap_add" not in service
        assert int(service["user"].split(":")[0]) > 10000
        assert service["restart"] == "always"


def test_the_custodian_has_no_network_and_the_relay_no_table() -> None:
    custodian, relay = BOTH["custodian"], BOTH["relay"]
    assert custodian["network_mode"] == "none"
    assert BOTH["join"]["network_mode"] == "none"
    assert custodian["user"] != relay["user"]
    assert mounted(custodian)["/data"] is False
    assert mounted(relay) == {"/srv/relay": True, "/run/cohortium": False}
    assert "/srv/relay" not in mounted(custodian)


def test_the_fleets_port_is_all_that_is_published() -> None:
    assert {n: s["ports"] for n, s in BOTH.items() if "ports" in s} == {"coordinator": ["${FLEET:-8443}:8443"]}
    head = documents((COMPOSE / "coordinator.yaml").read_text())[0]
    assert head["networks"]["monitoring"] == {"internal": True}


def test_overrides_change_the_custodian_alone_and_publish_nothing() -> None:
    gpu, database = services("compose.gpu.yaml"), services("compose.database.yaml")
    assert list(gpu) == ["custodian"]
    assert set(gpu["custodian"]) == {"image", "build", "deploy"}
    (device,) = gpu["custodian"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert set(database) == {"custodian", "join"}
    assert all(set(s) == {"network_mode", "networks"} and s["networks"] == ["database"] for s in database.values())


@pytest.mark.parametrize("name", ["coordinator", "custodian", "relay"])
def test_users_and_folders_are_those_of_the_images(name: str) -> None:
    own = stages()[name]
    assert ("USER", BOTH[name]["user"]) in own
    folder = next(rest for what, rest in own if what == "WORKDIR")
    assert mounted(BOTH[name])[folder]
    assert folder in json.loads(next(rest for what, rest in own if what == "CMD"))


# systemd


def unit(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / name).read_text().splitlines():
        if "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("name", UNITS)
def test_a_service_can_do_no_more_than_it_needs(name: str) -> None:
    own = unit(name)
    for key, value in (
        ("Restart", "always"),
        ("CapabilityBoundingSet", ""),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("UMask", "0077"),
        ("StartLimitIntervalSec", "0"),
    ):
        assert own[key] == [value]
    assert {"MemoryMax", "TasksMax", "RestartSec"} <= set(own)
    assert own["User"][0].startswith("cohortium-")
    assert own["ExecStart"][0].startswith("/opt/cohortium/bin/cohortium ")


@pytest.mark.parametrize("name", UNITS)
def test_a_service_that_a_person_has_to_mend_is_not_tried_for_ever(name: str) -> None:
    """What may come back by itself is: tables and disks, ledgers, ports and whoever is at the other end."""
    own = unit(name)
    comes_back = {InputError.exit_code, LedgerError.exit_code, FederationError.exit_code}
    at_start = {
        2,
        *(k.exit_code for k in (SchemaError, StudyError, WireError, SecretError, PolicyError, MembershipError)),
    }
    assert {int(code) for code in own["RestartPreventExitStatus"][0].split()} == at_start
    assert not comes_back & at_start
    assert int(own["RestartSec"][0]) >= 20


def test_the_three_services_have_three_users() -> None:
    users = [unit(name)["User"][0] for name in UNITS]
    output = (SYSTEMD / "cohortium.sysusers.conf").read_text()
    assert len(set(users)) == 3
    assert all(re.search(rf"^u {user} ", output, re.MULTILINE) for user in users)


def test_the_custodians_service_has_no_network_and_the_relays_no_table() -> None:
    _, custodian, relay = (unit(name) for name in UNITS)
    assert custodian["PrivateNetwork"] == ["yes"]
    assert custodian["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert "-/var/lib/cohortium " in relay["InaccessiblePaths"][0]
    assert relay["BindReadOnlyPaths"] == ["/run/cohortium/%i"]
    assert int(relay["RestartSec"][0]) >= 20
    assert "--without-relay" in custodian["ExecStart"][0]


def test_a_custodian_with_a_database_reaches_its_address_and_a_name_server_alone() -> None:
    """The name of the database's host is looked up, at an address that the drop-in allows as well."""
    text = re.sub(r"(?m)^#.*$", "", (SYSTEMD / "database.conf").read_text())
    assert re.findall(r"(?m)^IPAddressDeny=(.*)$", text) == ["any"]
    allowed = [ip_network(a) for line in re.findall(r"(?m)^IPAddressAllow=(.*)$", text) for a in line.split()]
    assert [a.num_addresses for a in allowed] == [1, 1]
    assert any(ip_address("127.0.0.53") in a for a in allowed), "systemd-resolved's"
    assert "PrivateNetwork=no" in text


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A root file system with the units, their drop-ins and what they refer to."""
    system = tmp_path / "etc/systemd/system"
    drop_ins = system / "cohortium-custodian@.service.d"
    drop_ins.mkdir(parents=True)
    for name in UNITS:
        shutil.copy(SYSTEMD / name, system)
    for name in ("gpu.conf", "database.conf", "metrics.conf"):
        shutil.copy(SYSTEMD / name, drop_ins)
    for target in ("multi-user", "network-online", "sysinit", "basic", "shutdown"):
        (system / f"{target}.target").write_text("[Unit]\nDescription=a target\nDefaultDependencies=no\n")
    command = tmp_path / "opt/cohortium/bin/cohortium"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_the_unit(name: str, installed: Path) -> None:
    done = run(program("systemd-analyze"), "verify", f"--root={installed}", installed / "etc/systemd/system" / name)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot verify offline")
    ours = [line for line in done.stderr.splitlines() if "cohortium" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_little_that_the_service_could_do(name: str) -> None:
    done = run(program("systemd-analyze"), "security", "--offline=true", "--threshold=20", "--no-pager", SYSTEMD / name)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot judge offline")
    assert done.returncode == 0, done.stdout[-300:]


def test_users_and_folders_are_made(tmp_path: Path) -> None:
    sysusers, tmpfiles = program("systemd-sysusers"), program("systemd-tmpfiles")
    (tmp_path / "etc").mkdir()
    done = run(sysusers, f"--root={tmp_path}", SYSTEMD / "cohortium.sysusers.conf")
    assert done.returncode == 0, done.stderr
    accounts = (tmp_path / "etc/passwd").read_text().splitlines()
    assert sorted(a.split(":")[0] for a in accounts if a.endswith("nologin")) == [
        "cohortium-coordinator",
        "cohortium-custodian",
        "cohortium-relay",
    ]
    done = run(tmpfiles, f"--root={tmp_path}", "--create", "--dry-run", SYSTEMD / "cohortium.tmpfiles.conf")
    if "unrecognized option" not in done.stderr:
        assert done.returncode == 0, done.stderr


# Monitoring


def expressions() -> Iterator[tuple[str, str]]:
    for path in MONITORING.glob("rules-*.yaml"):
        if path.name != "rules-test.yaml":
            for rule in documents(path.read_text())[0]["groups"][0]["rules"]:
                yield f"{path.name}, {rule['alert']}", rule["expr"]
    for path in (MONITORING / "grafana/dashboards").glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.name}, {panel['title']}", target["expr"]


def metrics() -> dict[str, set[str]]:
    """The metrics that docs/metrics.md lists, and their labels."""
    rows = re.findall(r"^\| `(cohortium_\w+)` \| \w+ \|([^|]*)\|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


@pytest.mark.parametrize(("where", "expression"), list(expressions()), ids=lambda x: x if "," in x else "")
def test_alerts_and_dashboards_name_metrics_that_there_are(where: str, expression: str) -> None:
    reported = metrics()
    names = re.findall(r"\bcohortium_\w+", expression)
    assert names
    assert set(names) <= set(reported)
    for name, chosen in re.findall(r"\b(cohortium_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:!?=~?|!~)", chosen)) <= reported[name]


def test_dashboards_can_be_told_apart_and_have_one_source() -> None:
    boards = [json.loads(p.read_text()) for p in (MONITORING / "grafana/dashboards").glob("*.json")]
    source = documents((MONITORING / "grafana/provisioning/datasources/cohortium.yaml").read_text())[0]["datasources"][
        0
    ]
    assert len({b["uid"] for b in boards}) == len(boards) == 2
    for board in boards:
        assert len({p["id"] for p in board["panels"]}) == len(board["panels"])
        assert {p["datasource"]["uid"] for p in board["panels"]} == {source["uid"]}


@pytest.mark.parametrize(
    "command",
    [
        ("check", "config", "prometheus-coordinator.yaml", "prometheus-institution.yaml"),
        ("check", "rules", "rules-coordinator.yaml", "rules-institution.yaml"),
        ("test", "rules", "rules-test.yaml"),
    ],
    ids=" ".join,
)
def test_prometheus_understands_the_files_and_alerts_fire_when_they_should(command: tuple[str, ...]) -> None:
    done = run(program("promtool"), *command, cwd=MONITORING)
    assert done.returncode == 0, done.stdout + done.stderr
