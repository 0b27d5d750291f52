"""deploy/proxy: each file is run as it is, but for names, ports and paths, before a stand-in for the coordinator."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from deploying import FEDERATION, NAME, Coordinator, free_port

from cohortium.flower_names import SIGNATURE, Api, Call
from cohortium_server.membership.provisioning import provision

HAS_IPV6 = (
    Path("/proc/net/if_inet6").exists()
    and "00000000000000000000000000000001 " in Path("/proc/net/if_inet6").read_text()
)
FILES = Path(__file__).parents[2] / "deploy" / "proxy"
STARTING = 30.0  # seconds
STARTED, PULLED = (call.removeprefix("/v1") for call in (Call.START_RUN, Call.PULL_MESSAGES))
FOREIGN = [
    ("POST", "/"),
    ("POST", Api.HEALTH),
    ("POST", Call.START_RUN),
    ("POST", Call.ACQUIRE_TASK),
    ("POST", Api.FLEET.rstrip("/")),
    ("POST", Api.FLEET),
    ("GET", Call.PULL_MESSAGES),
    ("PUT", Call.PULL_MESSAGES),
    ("POST", f"{Call.PULL_MESSAGES}?more=1"),
    ("POST", f"{Call.PULL_MESSAGES}/more"),
    ("POST", Call.PULL_MESSAGES.replace(Api.FLEET, Api.FLEET.upper())),
    ("POST", f"/{Call.PULL_MESSAGES}"),
    ("POST", f"{Api.FLEET}..{STARTED}"),
    ("POST", f"{Api.FLEET}%2e%2e{STARTED}"),
    ("POST", f"{Api.FLEET}..{STARTED.replace('/', '%2f')}"),
    ("POST", f"{Api.CONTROL}..{PULLED}"),
    ("POST", f"{Api.CONTROL}%2e%2e{PULLED}"),
    ("POST", f"{Call.PULL_MESSAGES}%00"),
]


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + STARTING
    while not done():
        assert time.monotonic() < deadline, "it did not come up"
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Proxy:
    """A proxy's program, its port and the coordinator's behind it. federation: the folder whose certificates it has."""

    program: str
    command: tuple[str, ...]
    federation: Path
    port: int
    behind: int

    @contextmanager
    def running(self) -> Iterator[None]:
        log = self.federation.parent / f"{self.program}.log"
        environment = {**os.environ, "HOME": str(log.parent), "XDG_DATA_HOME": str(log.parent)}
        with (
            log.open("ab") as reported,
            subprocess.Popen(self.command, stdout=reported, stderr=reported, env=environment) as child,
        ):
            try:
                until(lambda: listens(self.port) or child.poll() is not None)
                assert child.poll() is None, log.read_text()
                yield
            finally:
                child.terminate()

    def connect(
        self, name: str = NAME, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, here: str = "127.0.0.1"
    ) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.federation / "ca" / "root.crt"))
        context.maximum_version = newest
        return context.wrap_socket(socket.create_connection((here, self.port), STARTING), server_hostname=name)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str]]:
        """The status, and what the stand-in reports if it was asked."""
        connection = http.client.HTTPConnection(NAME, self.port)
        connection.sock = self.connect()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if answer.status == 200 else {}
        finally:
            connection.close()


def substituted(file: str, federation: Path, port: int, behind: int) -> str:
    text = (FILES / file).read_text()
    for old, new in (
        ("127.0.0.1:8443", f"127.0.0.1:{behind}"),
        ("/etc/cohortium/root.crt", str(federation / "ca" / "root.crt")),
        ("/etc/cohortium", str(federation)),
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("listen [::]:443", f"listen [::1]:{port}" if HAS_IPV6 else f"listen 127.0.0.2:{port}"),
        (f"{NAME}:443 {{", f"{NAME}:{port} {{"),
        ("admin off", f"admin off\n\tdefault_bind 127.0.0.1{' [::1]' if HAS_IPV6 else ''}"),
    ):
        text = text.replace(old, new)
    assert str(port) in text
    assert str(behind) in text
    return text


def modules() -> str:
    """nginx's lines that load stream, which may be built in, a file of its own, or absent."""
    built = subprocess.run(["nginx", "-V"], capture_output=True, text=True, check=True).stderr
    if re.search(r"--with-stream(\s|$)", built):
        return ""
    found = re.search(r"--modules-path=(\S+)", built)
    module = Path(found.group(1) if found else "/usr/lib/nginx/modules") / "ngx_stream_module.so"
    if not module.exists():
        pytest.skip("nginx has no stream module (libnginx-mod-stream)")
    return f"load_module {module};\n"


def nginx(folder: Path, sections: str, before: str = "") -> tuple[str, ...]:
    me = "user root;\n" if os.geteuid() == 0 else ""
    head = f"{before}{me}daemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
    (folder / "nginx.conf").write_text(head + sections)
    return "nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")


def http_section(folder: Path, text: str) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    return f"http {{\naccess_log off;\n{places}{text}\n}}\n"


def caddy(folder: Path, text: str) -> tuple[str, ...]:
    (folder / "Caddyfile").write_text(text)
    return "caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"


def made(program: str, file: str, folder: Path) -> Proxy:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    (folder / "federation.toml").write_text(FEDERATION)
    federation = provision(folder / "federation.toml", folder / "FED").federation.folder
    port, behind = free_port(), free_port()
    text = substituted(file, federation, port, behind)
    if program == "caddy":
        command = caddy(folder, text)
    elif file == "passthrough.conf":
        command = nginx(folder, text, modules())
    else:
        command = nginx(folder, http_section(folder, text))
    return Proxy(program, command, federation, port, behind)


@pytest.fixture(params=[("nginx", "fleet.conf"), ("caddy", "Caddyfile")], ids=["nginx", "caddy"])
def ending(request: pytest.FixtureRequest, tmp_path: Path) -> Proxy:
    """A proxy that ends TLS."""
    return made(*request.param, tmp_path)


@pytest.fixture
def passing(tmp_path: Path) -> Proxy:
    """A proxy that passes TLS through."""
    return made("nginx", "passthrough.conf", tmp_path)


def test_only_the_fleet_passes(ending: Proxy) -> None:
    with ending.running(), Coordinator(ending.federation, ending.behind) as coordinator:
        for method, path in FOREIGN:
            status, _ = ending.ask(method, path)
            assert status in (400, 404), (method, path)
        assert coordinator.seen == []
        assert ending.ask("POST", Call.PULL_MESSAGES)[0] == 200
        assert coordinator.seen == [Call.PULL_MESSAGES]


def test_bodies_pass_unchanged_up_to_16_megabytes(ending: Proxy) -> None:
    with ending.running(), Coordinator(ending.federation, ending.behind) as coordinator:
        for size in (0, 6_000_000, 16_000_000):
            body = os.urandom(size)
            status, reported = ending.ask("POST", Call.PUSH_OBJECT, body, **{SIGNATURE: "c2lnbmVk"})
            assert (status, reported) == (200, {"body": hashlib.sha256(body).hexdigest(), "signature": "c2lnbmVk"})
        coordinator.seen.clear()
        assert refused(lambda: ending.ask("POST", Call.PUSH_OBJECT, os.urandom(17_000_000)))


def refused(ask: Callable[[], tuple[int, dict[str, str]]]) -> bool:
    """A body that is too long: the proxy may say so, or hang up while it is still being sent."""
    try:
        return ask()[0] != 200
    except (ConnectionError, ssl.SSLError):
        return True


def test_tls_1_3_with_the_certificate_of_the_federation_alone(ending: Proxy) -> None:
    with ending.running(), Coordinator(ending.federation, ending.behind):
        with ending.connect() as connection:
            assert connection.version() == "TLSv1.3"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ending.connect(newest=ssl.TLSVersion.TLSv1_2)


def test_a_stranger_behind_the_proxy_receives_nothing(ending: Proxy, tmp_path: Path) -> None:
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "federation.toml").write_text(FEDERATION)
    strange = provision(tmp_path / "strange" / "federation.toml", tmp_path / "strange" / "FED").federation.folder
    with ending.running(), Coordinator(strange, ending.behind) as stranger:
        assert ending.ask("POST", Call.PUSH_OBJECT, b"an answer")[0] == 502
        assert stranger.seen == []


def test_the_coordinator_and_the_proxy_may_come_and_go(ending: Proxy) -> None:
    with Coordinator(ending.federation, ending.behind), ending.running():
        assert ending.ask("POST", Call.PULL_MESSAGES)[0] == 200
    with ending.running():
        assert ending.ask("POST", Call.PULL_MESSAGES)[0] in (502, 503, 504)  # after which a relay tries again
        with Coordinator(ending.federation, ending.behind):
            assert ending.ask("POST", Call.PULL_MESSAGES)[0] == 200


def test_tls_is_passed_through_to_the_coordinator_itself(passing: Proxy) -> None:
    body = os.urandom(6_000_000)
    with passing.running(), Coordinator(passing.federation, passing.behind) as coordinator:
        status, reported = passing.ask("POST", Call.PUSH_OBJECT, body)
        assert (status, reported["body"]) == (200, hashlib.sha256(body).hexdigest())
        assert "ssl_certificate" not in (FILES / "passthrough.conf").read_text()  # nothing it could open TLS with
        with pytest.raises((ssl.SSLError, ConnectionError)):
            passing.connect("another.example.org")
        assert coordinator.seen == [Call.PUSH_OBJECT]
    with passing.running(), pytest.raises((ssl.SSLError, ConnectionError)):
        passing.connect()


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6, not even loopback")
@pytest.mark.parametrize("file", ["fleet.conf", "passthrough.conf", "Caddyfile"])
def test_it_is_reached_over_ipv6_too(file: str, tmp_path: Path) -> None:
    proxy = made("caddy" if file == "Caddyfile" else "nginx", file, tmp_path)
    with proxy.running(), Coordinator(proxy.federation, proxy.behind):
        for here in ("127.0.0.1", "::1"):
            proxy.connect(here=here).close()


@pytest.mark.parametrize("file", ["fleet.conf", "passthrough.conf", "Caddyfile"])
def test_the_program_itself_accepts_the_file(file: str, tmp_path: Path) -> None:
    proxy = made("caddy" if file == "Caddyfile" else "nginx", file, tmp_path)
    check = ["caddy", "validate", *proxy.command[2:]] if proxy.program == "caddy" else [*proxy.command, "-t"]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0
