"""The way to the coordinator may lead through a proxy; nothing that is said within a machine ever does."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from proxying import PROXY_VARIABLES, Connecting, connecting, nowhere
from readiness import ACTIVATE, Relay, answering, failing

from cohortium.errors import CohortiumError, FederationError, InputError, SecretError
from cohortium.federation import wire
from cohortium.federation.probe import ask
from cohortium.flower.environment import prepare
from cohortium.system.address import Address, parse_address
from cohortium.system.proxies import Proxy, parse_proxy, use_only, using_only, way_to
from cohortium_client.flower.node import run_node
from cohortium_client.joining import join
from cohortium_client.preflight import preflight
from cohortium_client.relay import load_relay
from cohortium_client.socket.service import Connection, serve

FILE = Path("relay.toml")
PUBLIC = Address("coordinator.example.org", 8443)
SECRET = "s3cr3t"
P = "http://proxy.example.org:3128"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def relay() -> Iterator[Relay]:
    """In a folder whose path leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp") as folder:
        yield Relay(Path(folder))


def through(address: str, **environ: str) -> str | None:
    proxy = way_to(parse_address(address), None, FILE, environ)
    return None if proxy is None else str(proxy)


# Which one


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "Https_Proxy", "all_proxy", "ALL_PROXY"])
def test_by_default_it_is_the_environments(name: str) -> None:
    proxy = way_to(PUBLIC, None, FILE, {name: P})
    assert proxy is not None
    assert (str(proxy), proxy.origin) == (P, f"{name} of the environment")
    assert way_to(PUBLIC, "environment", FILE, {name: P}) == proxy
    assert way_to(PUBLIC, "none", FILE, {name: P}) is None
    assert str(way_to(PUBLIC, "http://other:1", FILE, {name: P})) == "http://other:1"


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "grpc_proxy", "ftp_proxy", "PROXY"])
def test_variables_of_other_protocols_say_nothing_of_the_coordinator(name: str) -> None:
    assert through(str(PUBLIC), **{name: P}) is None


def test_small_letters_count_before_capitals_and_https_before_all() -> None:
    assert through(str(PUBLIC), https_proxy="http://one:1", HTTPS_PROXY=P) == "http://one:1"
    assert through(str(PUBLIC), https_proxy="", HTTPS_PROXY=P) is None
    assert through(str(PUBLIC), HTTPS_PROXY="http://one:1", ALL_PROXY=P) == "http://one:1"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "localhost", "LOCALHOST", "a.localhost", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_the_environments_is_never_for_this_machine(host: str) -> None:
    assert through(f"{host}:8443", HTTPS_PROXY=P, ALL_PROXY=P) is None


@pytest.mark.parametrize(
    ("address", "entry", "excepted"),
    [
        (str(PUBLIC), "*", True),
        (str(PUBLIC), "coordinator.example.org", True),
        (str(PUBLIC), "example.org", True),
        (str(PUBLIC), ".example.org", True),
        (str(PUBLIC), "*.example.org", True),
        (str(PUBLIC), "a.b, EXAMPLE.ORG", True),
        (str(PUBLIC), "a.b example.org", True),
        (str(PUBLIC), "example.org:8443", True),
        (str(PUBLIC), "example.org:443", False),
        (str(PUBLIC), "ample.org", False),
        (str(PUBLIC), "org.example", False),
        (str(PUBLIC), "", False),
        (str(PUBLIC), ".", False),
        (str(PUBLIC), "10.0.0.0/8", False),
        ("10.1.2.3:8443", "10.1.2.3", True),
        ("10.1.2.3:8443", "10.0.0.0/8", True),
        ("10.1.2.3:8443", "11.0.0.0/8", False),
        ("10.1.2.3:8443", "3", False),
        ("[2001:db8::7]:8443", "2001:db8::/32", True),
        ("[2001:db8::7]:8443", "[2001:db8::7]", True),
        ("[2001:db8::7]:8443", "[2001:db8::7]:8443", True),
    ],
)  # fmt: skip
def test_what_no_proxy_excepts(address: str, entry: str, excepted: bool) -> None:
    assert (through(address, HTTPS_PROXY=P, NO_PROXY=entry) is None) is excepted


@pytest.mark.parametrize(
    "text", ["", "socks5://p:1", "https://p:1", "http://", "http://p:99999", "http://p:x", "http://p/path", "http://[::1", "file:///x"]
)  # fmt: skip
def test_what_is_no_proxy_that_can_be_used(text: str) -> None:
    with pytest.raises(InputError, match=r"E_PROXY: relay.toml, proxy: .*none"):
        way_to(PUBLIC, text, FILE)
    if text:
        with pytest.raises(InputError, match=r"E_PROXY: ALL_PROXY of the environment"):
            way_to(PUBLIC, None, FILE, {"ALL_PROXY": text})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("proxy:3128", "http://proxy:3128"),
        ("HTTP://Proxy:3128/", "http://proxy:3128"),
        ("http://proxy", "http://proxy:80"),
        ("http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
        (f"u:{SECRET}@proxy:3128", "http://proxy:3128"),
    ],
)
def test_how_a_proxy_may_be_written(text: str, shown: str) -> None:
    assert str(parse_proxy(text, "x")) == shown


def test_an_ipv6_address_is_asked_no_proxy_for() -> None:
    with pytest.raises(InputError, match=r"E_PROXY.*DNS name"):
        through("[2001:db8::7]:8443", HTTPS_PROXY=P)


# What it must not show


@pytest.mark.parametrize(
    "text", [f"http://u:{SECRET}@p:1", f"socks5://u:{SECRET}@p:1", f"u:{SECRET}@p:x", f"http://{SECRET}@p:1/x"]
)
def test_its_password_is_in_no_text(text: str, tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.touch(0o600)
    try:
        proxy = way_to(PUBLIC, text, file)
        shown = f"{proxy} {proxy!r} {proxy.origin if proxy else ''}"
        with pytest.raises(FederationError) as caught:
            ask(PUBLIC, "/", file, proxy=Proxy("127.0.0.1", 9, "x", f"u:{SECRET}"))
        shown += str(caught.value)
    except CohortiumError as error:
        shown = f"{error} {error.as_dict()}"
    assert SECRET not in shown


@pytest.mark.parametrize(("mode", "good"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False)])
def test_a_file_with_its_password_is_its_owners_alone(mode: int, good: bool, tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.touch()
    file.chmod(mode)
    assert str(way_to(PUBLIC, P, file)) == P
    if good:
        assert way_to(PUBLIC, f"http://u:{SECRET}@p:1", file) is not None
        return
    with pytest.raises(SecretError, match="chmod 600") as caught:
        way_to(PUBLIC, f"http://u:{SECRET}@p:1", file)
    assert SECRET not in str(caught.value)


# What uses it


def test_processes_that_speak_over_loopback_have_no_variable_of_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in nowhere().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1")  # httpx does not even begin where it lacks what that needs
    prepare(tmp_path, 1.0)
    assert not [n for n in os.environ if n.lower().endswith("_proxy")]
    with httpx.Client() as client:
        assert not client._mounts


def test_the_node_alone_has_the_way_to_the_coordinator(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reaches https addresses through the proxy; what is http is of this machine."""
    from cohortium.flower.internals import private
    from cohortium.flower_names import NODE, NODE_LOOP

    for name, value in nowhere().items():
        monkeypatch.setenv(name, value)
    loop = private(NODE_LOOP)
    for name in NODE_LOOP.names:
        monkeypatch.setattr(loop, name, getattr(loop, name))
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(private(NODE), "flower_supernode", lambda: seen.append(dict(os.environ)))
    monkeypatch.setattr("sys.argv", [])
    run_node(load_relay(relay.folder), 1, relay.folder / "secret", parse_proxy(f"http://u:{SECRET}@p:1", "x"))
    assert {n: v for n, v in seen[0].items() if n.lower().endswith("_proxy")} == {
        "HTTPS_PROXY": f"http://u:{SECRET}@p:1"
    }


def test_variables_are_as_they_were_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "a")
    with using_only(parse_proxy(P, "x")):
        assert (os.environ.get("http_proxy"), os.environ["HTTPS_PROXY"]) == (None, P)
    assert (os.environ["http_proxy"], os.environ.get("HTTPS_PROXY")) == ("a", None)


def test_the_custodians_socket_is_reached_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in nowhere().items():
        monkeypatch.setenv(name, value)

    class Echo:
        def answer(self, data: bytes) -> bytes:
            return data

    said = wire.encode_refusal(wire.Refusal("north", "E_POLICY"))
    with serve(Echo(), tmp_path / "s"):
        assert Connection(tmp_path / "s").answer(said) == said


# What institution check says of it


def checked(here: Relay, proxy: Connecting | None, **said: str) -> tuple[dict[str, str], dict[str, str]]:
    """What was found and what failed, over a coordinator that is there. said: the setting of a file, by its name."""
    with answering(here.fed, {ACTIVATE: 400}) as port:
        here.lead_to(port)
        for name, setting in said.items():
            path = here.folder / "relay.toml" if name == "relay" else here.folder.parent / "institution.toml"
            path.write_text(f'proxy = "{setting}"\n{path.read_text()}')
        found = here.checked()
        if proxy is not None:
            assert set(proxy.asked) <= {f"localhost:{port}"}
    return {c.name: c.found for c in found}, failing(found)


@pytest.mark.parametrize("credentials", ["", f"u:{SECRET}"])
@pytest.mark.parametrize("file", ["relay", "institution"])
def test_a_proxy_that_lets_through(relay: Relay, credentials: str, file: str) -> None:
    """The check reaches the coordinator through it, and so does what asks as the node would."""
    (relay.folder / "relay.toml").chmod(0o600)
    with connecting(credentials) as proxy:
        found, failed = checked(relay, proxy, **{file: proxy.url})
        assert failed == {}
        assert len(proxy.asked) == 3, "the proxy's line, the coordinator's, and the membership's"
        assert f"http://127.0.0.1:{proxy.port} ({file}.toml, proxy) passes on to localhost:" in found["proxy"]
        assert SECRET not in str(found)


def test_relay_toml_counts_before_institution_toml(relay: Relay) -> None:
    with connecting(status=403) as one, connecting() as other:
        assert checked(relay, other, relay=other.url, institution=one.url)[1] == {}
        assert other.asked and not one.asked


@pytest.mark.parametrize(
    ("status", "what"),
    [(403, "does not allow connections to localhost:"), (407, "wants a name and password"),
     (502, "reaches nobody at localhost:"), (405, "HTTP 405")],
)  # fmt: skip
def test_a_proxy_that_does_not_let_through_is_blamed_and_not_the_coordinator(
    relay: Relay, status: int, what: str
) -> None:
    with connecting(status=status) as proxy:
        failed = checked(relay, proxy, relay=proxy.url)[1]
    assert list(failed) == ["proxy"]
    assert failed["proxy"].startswith(f"E_PROXY: http://127.0.0.1:{proxy.port}: it ")
    assert what in failed["proxy"]


def test_a_proxy_that_does_not_take_the_password(relay: Relay) -> None:
    (relay.folder / "relay.toml").chmod(0o600)
    with connecting(f"u:{SECRET}") as proxy:
        failed = checked(relay, proxy, relay=proxy.url.replace("u:", "v:"))[1]
    assert "does not take the name and password" in failed["proxy"]
    assert SECRET not in str(failed)


def test_a_proxy_that_is_not_there(relay: Relay) -> None:
    failed = checked(relay, None, relay=nowhere()["https_proxy"])[1]
    assert list(failed) == ["proxy"]
    assert "it does not answer: Connection refused" in failed["proxy"]


@pytest.fixture
def chatting() -> Iterator[int]:
    """The port of something that is no proxy."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def chat() -> None:
            caller, _ = listener.accept()
            with caller:
                caller.recv(4096)
                caller.sendall(b"220 mail.example.org ESMTP\r\n")

        Thread(target=chat, daemon=True).start()
        yield int(listener.getsockname()[1])


def test_a_proxy_that_reaches_nobody_asks_for_the_coordinator_first(relay: Relay) -> None:
    with connecting() as proxy:
        path = relay.folder / "relay.toml"
        path.write_text(f'proxy = "{proxy.url}"\n{path.read_text()}')
        (failed,) = [line for line in relay.checked() if not line.passed]
    assert (failed.name, "reaches nobody at localhost:1: HTTP 503" in failed.found) == ("proxy", True)
    assert failed.fix.startswith("Ask the coordinator whether it serves now")


def test_something_that_is_no_proxy(relay: Relay, chatting: int) -> None:
    failed = checked(relay, None, relay=f"http://127.0.0.1:{chatting}")[1]
    assert "does not answer as a proxy does: BadStatusLine" in failed["proxy"]


def test_a_coordinator_that_is_not_there_is_not_its_proxys_fault(relay: Relay) -> None:
    """The proxy connects; what it connects to is not the coordinator."""
    with connecting() as proxy:
        path = relay.folder / "relay.toml"
        path.write_text(f'proxy = "{proxy.url}"\n{path.read_text().replace("localhost:1", f"localhost:{proxy.port}")}')
        failed = failing(relay.checked())
    assert list(failed) == ["coordinator"]
    assert "E_LINK" in failed["coordinator"]


def test_variables_that_lead_nowhere_break_no_check(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in nowhere().items():
        monkeypatch.setenv(name, value)
    found, failed = checked(relay, None)
    assert failed == {}
    assert found["proxy"] == "none on the way to the coordinator"


def test_a_setting_is_read_when_the_file_is(relay: Relay) -> None:
    site = relay.folder.parent
    (site / "institution.toml").write_text(f'proxy = "socks5://p:1"\n{(site / "institution.toml").read_text()}')
    assert "E_PROXY: institution.toml, proxy" in failing(list(preflight(site)))["folder"]


def test_a_setting_that_is_for_no_relay_is_reported(relay: Relay) -> None:
    site = relay.folder.parent
    (site / "institution.toml").write_text(f'proxy = "http://p:1"\n{(site / "institution.toml").read_text()}')
    relay.folder.rename(site.parent / "elsewhere")
    reported = {line.name: line.found for line in preflight(site)}
    assert "there is none" in reported["proxy"]


def test_who_joins_with_a_relay_elsewhere_takes_the_setting_along(relay: Relay, tmp_path: Path) -> None:
    from cohortium.federation.kit import load_kit
    from cohortium_client.custodian.institution import load_institution

    site = relay.folder.parent
    (site / "institution.toml").write_text(
        f'proxy = "http://u:{SECRET}@p:1"\n{(site / "institution.toml").read_text()}'
    )
    kit = load_kit(relay.fed.kits / "north.zip")
    made = join(kit, load_institution(site), tmp_path / "elsewhere")
    assert made.relay.folder.joinpath("relay.toml").stat().st_mode & 0o077 == 0
    assert str(load_relay(tmp_path / "elsewhere").proxy()) == "http://p:1"


def test_what_is_set_is_gone_again() -> None:
    environ = {"no_proxy": "x", "HTTP_PROXY": "y", "HOME": "z"}
    use_only(None, environ)
    assert environ == {"HOME": "z"}
