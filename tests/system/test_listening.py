"""Where a coordinator listens and is looked for, over IPv4 and IPv6: what is looked at is what is served."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from enrolment import written
from readiness import answering, failing, free_ports, lines, provisioned

from cohortium.errors import FederationError, MembershipError
from cohortium.federation.probe import ask
from cohortium.system.address import Address, parse_address
from cohortium.system.listening import bound, everywhere, from_here
from cohortium.system.metrics import gauge, served
from cohortium_server import preflight as coordinator_side
from cohortium_server.flower.link import serve_doors
from cohortium_server.membership import authority, presence
from cohortium_server.membership.federation import Federation, load_federation
from cohortium_server.membership.provisioning import provision

HEALTHY = Path(__file__).parents[2] / "deploy" / "images" / "healthy.py"


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


over_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6, not even loopback")
BOTH = ["127.0.0.1", *(["::1"] if has_ipv6() else [])]
without_ipv6 = ("has_dualstack_ipv6", lambda: False)


def reached(port: int) -> list[str]:
    """The loopback addresses at which somebody listens."""
    return [host for host in ("127.0.0.1", "::1") if _open(host, port)]


def _open(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 5):
        return True
    return False


@contextlib.contextmanager
def listened(host: str) -> Iterator[int]:
    """Listening at a host; at which port."""
    (port,) = free_ports(1)
    made = bound(Address(host, port))
    try:
        for one in made:
            one.listen()
        yield port
    finally:
        for one in made:
            one.close()


# Where it listens


@pytest.mark.parametrize(
    ("address", "listen"),
    [("coordinator.example.org:1", "[::]:1"), ("10.1.2.3:1", "0.0.0.0:1"), ("[2001:db8::1]:1", "[::]:1"), ("[::1]:1", "[::]:1")],
)  # fmt: skip
def test_by_default_it_listens_where_its_address_is_reached(
    address: str, listen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: True)
    assert str(everywhere(parse_address(address))) == listen
    monkeypatch.setattr(socket, *without_ipv6)
    assert str(everywhere(parse_address(address))) == ("0.0.0.0:1" if "example" in address else listen)


@pytest.mark.parametrize(
    ("host", "families"),
    [("0.0.0.0", ["127.0.0.1"]), ("127.0.0.1", ["127.0.0.1"]), ("::", BOTH), ("::1", BOTH[1:]), ("localhost", None)],  # noqa: S104
)  # fmt: skip
def test_what_listening_at_an_address_reaches(host: str, families: list[str] | None) -> None:
    if families == []:
        pytest.skip("this machine has no IPv6, not even loopback")
    with listened(host) as port:
        assert reached(port) == families if families is not None else "127.0.0.1" in reached(port)


def test_it_listens_at_the_given_address_and_at_no_other() -> None:
    with listened("127.0.0.1") as port:
        assert not _open("127.0.0.2", port)


def test_without_ipv6_everywhere_is_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, *without_ipv6)
    with listened("::") as port:
        assert reached(port) == ["127.0.0.1"]


@over_ipv6
def test_a_port_that_is_taken_in_one_family_is_taken() -> None:
    with listened("0.0.0.0") as port, pytest.raises(OSError, match="in use"):  # noqa: S104
        bound(Address("::", port))
    with listened("127.0.0.1") as port:
        for one in bound(Address("::1", port)):
            one.close()


def test_an_address_of_another_machine_is_not_here() -> None:
    with pytest.raises(OSError, match="assign"):
        bound(Address("192.0.2.1", 1))


def test_both_doors_listen_where_the_federation_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both families, although uvicorn and asyncio by themselves would give [::] the one alone."""
    outer, inner = free_ports(2)
    fed = provisioned(tmp_path, outer, inner, listen=f"[::]:{outer}")
    seen: list[str] = []

    async def serve(self: uvicorn.Server, sockets: Any = None) -> None:
        for one in sockets:
            one.listen()
        seen.extend(f"{host} {port}" for port in (outer, inner) for host in reached(port))
        for one in sockets:
            one.close()

    monkeypatch.setattr(uvicorn.Server, "serve", serve)
    serve_doors(None, fed, None)  # type: ignore[arg-type]
    assert set(seen) == {f"127.0.0.1 {inner}", *(f"{host} {outer}" for host in BOTH)}


# What looks at it


def test_from_here_is_what_answers() -> None:
    with listened("0.0.0.0") as port:  # noqa: S104
        assert from_here(Address("::", port), 5) == [Address("127.0.0.1", port)]
        assert from_here(Address("0.0.0.0", port), 5) == [Address("127.0.0.1", port)]  # noqa: S104
        assert from_here(Address("10.1.2.3", 1), 0.01) == [Address("10.1.2.3", 1)]
    assert from_here(Address("::", port), 5) == [Address("::1", port)]


@contextlib.contextmanager
def standing(folder: Path, listen: str, address: str, control: str = "127.0.0.1") -> Iterator[Federation]:
    """A federation of which both doors answer, as ``bound`` has them listen. listen, address, control: hosts as they are written."""
    outer, inner = free_ports(2)
    said = {"address": f"{address}:{outer}", "control": f"{control}:{inner}"} | (
        {"listen": f"{listen}:{outer}"} if listen else {}
    )
    fed = provision(written(folder, **said), folder / "fed").federation
    with contextlib.ExitStack() as stack:
        for door, statuses in ((fed.listen, {}), (fed.control, {"/health": 200})):
            for one in bound(door):
                stack.enter_context(answering(fed, statuses, at=one))
        lock = presence.hold(fed.state)
        assert lock is not None
        stack.callback(os.close, lock)
        yield fed


def health(fed: Federation) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, HEALTHY, "coordinator", fed.folder]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@over_ipv6
@pytest.mark.parametrize("listen", ["", "[::]", "[::1]"])
@pytest.mark.parametrize("control", ["127.0.0.1", "[::1]"])
def test_a_coordinator_on_ipv6_is_checked_and_found_healthy(
    tmp_path: Path, listen: str, control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator_side, "_hosts", list)
    with standing(tmp_path, listen, "[::1]", control) as fed:
        found = lines(fed)
        assert failing(found) == {}
        reported = {c.name: c.found for c in found}
        assert reported["address"] == f"{fed.address} leads here"
        assert (f"tried at [::1]:{fed.listen.port}" in reported["listen"]) is (listen != "[::1]")
        looked = health(fed)
        assert (looked.returncode, looked.stderr) == (0, "")
        assert ask(fed.address, "/", fed.root_certificate).status == 404
    assert health(fed).returncode == 1


@over_ipv6
def test_before_it_is_served_its_doors_are_tried_in_both_families(tmp_path: Path) -> None:
    outer, inner = free_ports(2)
    fed = provisioned(tmp_path, outer, inner, listen=f"[::]:{outer}", address=f"[::1]:{outer}")
    assert failing(lines(fed)) == {}
    with socket.create_server(("127.0.0.1", outer)):
        assert "in use" in failing(lines(fed))["listen"]


@pytest.mark.parametrize("listen", ["0.0.0.0", "127.0.0.1", ""])  # noqa: S104
def test_a_coordinator_on_ipv4_is_healthy(tmp_path: Path, listen: str) -> None:
    with standing(tmp_path, listen, "127.0.0.1") as fed:
        assert health(fed).returncode == 0


@over_ipv6
def test_a_control_door_that_others_reach_over_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator_side, "_hosts", lambda: ["::1"])
    with standing(tmp_path, "127.0.0.1", "localhost") as fed:
        assert failing(lines(fed)) == {}
        with listened_at("::1", fed.control.port):
            assert f"[::1]:{fed.control.port}" in failing(lines(fed))["control"]


@contextlib.contextmanager
def listened_at(host: str, port: int) -> Iterator[None]:
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
        yield


@pytest.mark.parametrize("control", ["[::1]:8444", "127.0.0.2:8444", "localhost:8444"])
def test_control_may_be_any_address_of_this_machine_alone(tmp_path: Path, control: str) -> None:
    assert str(provision(written(tmp_path, control=control), tmp_path / "fed").federation.control) == control


@pytest.mark.parametrize("control", ["[::]:8444", "[2001:db8::1]:8444", "192.0.2.1:8444"])
def test_control_may_not_be_reached_by_others(tmp_path: Path, control: str) -> None:
    with pytest.raises(MembershipError, match="others could reach it"):
        provision(written(tmp_path, control=control), tmp_path / "fed")


def test_a_ca_that_knows_no_ipv6_loopback_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were made before: their servers are renewed as ever, and a control door at [::1] is said to be the trouble."""
    own = authority.names_of
    with monkeypatch.context() as older:
        older.setattr(authority, "names_of", lambda host, over_ipv6=False: own(host))
        fed = provision(written(tmp_path), tmp_path / "fed").federation
    renewed = provision(tmp_path / "federation.toml", tmp_path / "fed", renew=True).federation
    certificate = authority.load_certificate(renewed.server_certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == own(fed.address.host)
    file = fed.folder / "federation.toml"
    file.write_text(file.read_text().replace("[federation]", '[federation]\ncontrol = "[::1]:8444"'))
    assert "control" in failing(lines(load_federation(fed.folder)))["server's certificate"]


@over_ipv6
@pytest.mark.parametrize("host", ["::1", "::"])
def test_metrics_are_served_over_ipv6(host: str) -> None:
    (port,) = free_ports(1)
    with served(lambda: [gauge("a", "b", [((), 1.0)])], Address(host, port)):
        assert reached(port) == (BOTH if host == "::" else ["::1"])


def test_an_unreachable_ipv6_coordinator_is_named_as_one(tmp_path: Path) -> None:
    fed = provision(written(tmp_path, address="[::1]:1"), tmp_path / "fed").federation
    with pytest.raises(FederationError, match=r"E_LINK: \[::1\]:1: nobody answers"):
        ask(fed.address, "/", fed.root_certificate)
