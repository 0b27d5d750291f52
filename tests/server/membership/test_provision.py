"""Who is in a federation: its CA, its join kits, applications and what is admitted; as laws, as attacks, and as people do it."""

from __future__ import annotations

import hashlib
import io
import json
import re
import ssl
import stat
import subprocess
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from enrolment import HOST, admitted, joined, site, written
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cohortium.cli import build
from cohortium.data.schema import Schema
from cohortium.errors import CohortiumError, InputError, MembershipError, SecretError
from cohortium.federation.kit import MAX_MEMBER, NAMES, Kit, load_kit, pack, root_digest, unpack
from cohortium.federation.membership import (
    Application,
    apply,
    dumps,
    is_node_key,
    load_application,
    load_succession,
    new_node_key,
    node_text,
    succeed,
)
from cohortium.study.study import Institution as Named
from cohortium.study.study import Study, study_from_document
from cohortium.system.address import Address, parse_address
from cohortium.system.canonical import canonical_json
from cohortium.system.files import write_new, write_whole
from cohortium.system.keys import private_pem, public_text
from cohortium_client.custodian.agreements import agree
from cohortium_client.custodian.institution import load_institution
from cohortium_client.joining import SUCCESSION, join
from cohortium_client.relay import load_node_key, load_relay
from cohortium_server.membership import authority, provisioning
from cohortium_server.membership.federation import Federation, load_federation
from cohortium_server.membership.members import admit, load_members, load_revoked, memberships, revoke
from cohortium_server.membership.provisioning import provision

NOW = datetime.now(UTC)


@pytest.fixture
def fed(tmp_path: Path) -> Federation:
    return provision(written(tmp_path), tmp_path / "fed").federation


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder: what is in it and when it was written."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def refused(code: str, what: Callable[[], object]) -> str:
    """The sentence of the error of that code that ``what`` raises."""
    with pytest.raises(CohortiumError) as caught:
        what()
    assert caught.value.code == code, caught.value
    return str(caught.value)


# --- federation.toml


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("a.example:8443", "a.example", 8443),
        ("10.0.0.1:1", "10.0.0.1", 1),
        ("[::1]:65535", "::1", 65535),
        ("localhost:80", "localhost", 80),
    ],
)
def test_an_address_is_read_and_written(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)
    assert str(Address(host, port)) == text


@pytest.mark.parametrize(
    "text",
    ["", "a", "a:", ":1", "a:0", "a:65536", "a:1 ", "a b:1", "::1:5", "[::1]", "[a]:1", "1.2.3:4", "256.1.1.1:4",
     "a..b:1", "-a:1", "https://a:1", "a:1\n", "a:१", "x" * 254 + ":1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it"):
        parse_address(text)


def test_defaults_of_a_federation(fed: Federation) -> None:
    assert (str(fed.listen), str(fed.control), fed.metrics) == ("[::]:8443", "127.0.0.1:8444", None)
    assert (fed.name, fed.days, fed.institution_names) == ("clinics", 397, ("north", "south"))


def test_behind_a_proxy(tmp_path: Path) -> None:
    file = written(tmp_path, address=f"{HOST}:443", listen="127.0.0.1:9443", metrics="10.0.0.1:9464", days=30)
    behind = provision(file, tmp_path / "fed").federation
    assert (str(behind.address), str(behind.listen)) == (f"{HOST}:443", "127.0.0.1:9443")
    assert (str(behind.control), str(behind.metrics)) == ("127.0.0.1:9444", "10.0.0.1:9464")


@pytest.mark.parametrize(
    ("head", "place"),
    [
        ({"name": "../clinics"}, "federation.name"),
        ({"name": "x" * 65}, "federation.name"),
        ({"address": "nowhere"}, "federation.address"),
        ({"address": 8443}, "federation.address"),
        ({"address": "0.0.0.0:8443"}, "address"),
        ({"control": "10.0.0.1:8444"}, "control"),
        ({"control": "0.0.0.0:8444"}, "control"),
        ({"address": f"{HOST}:65535"}, "control"),
        ({"metrics": "127.0.0.1:8444"}, "share a port"),
        ({"days": 0}, "federation.days"),
        ({"days": True}, "federation.days"),
        ({"listn": "0.0.0.0:1"}, "federation.listn"),
    ],
)
def test_a_wrong_file_is_refused_by_its_place_and_nothing_is_made(
    tmp_path: Path, head: dict[str, Any], place: str
) -> None:
    assert place in refused("E_FEDERATION", lambda: provision(written(tmp_path, **head), tmp_path / "fed"))
    assert not (tmp_path / "fed").exists()


@pytest.mark.parametrize("names", [("north", "north"), ("north", "North"), ("../north",)])
def test_names_become_files_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    refused("E_FEDERATION", lambda: provision(written(tmp_path, *names), tmp_path / "fed"))


def test_a_folder_that_is_no_coordinators(tmp_path: Path) -> None:
    assert "cohortium provision" in refused("E_FEDERATION", lambda: load_federation(tmp_path))


# --- the coordinator's folder


def test_what_is_made_and_who_may_read_it(fed: Federation) -> None:
    modes = {name: stat.S_IMODE((fed.folder / name).stat().st_mode) for name in contents(fed.folder)}
    assert modes == {
        "federation.toml": 0o644,
        "ca/root.crt": 0o644,
        "ca/root.key": 0o600,
        "server.crt": 0o644,
        "server.key": 0o600,
        "kits/north.zip": 0o644,
        "kits/south.zip": 0o644,
        "secrets/executor": 0o600,
        "secrets/control": 0o600,
    }
    for folder in (fed.folder, fed.members, fed.revoked, fed.secrets, fed.state, fed.runs, fed.root_key.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    secrets = [p.read_text() for p in (fed.executor_secret, fed.control_secret)]
    assert all(re.fullmatch(r"[0-9a-f]{64}", s) for s in secrets)
    assert len(set(secrets)) == 2
    assert load_federation(fed.folder) == fed


def test_provisioning_again_touches_nothing(tmp_path: Path, fed: Federation) -> None:
    before = contents(fed.folder)
    assert provision(tmp_path / "federation.toml", fed.folder).kits == ()
    assert contents(fed.folder) == before
    provision(fed.folder / "federation.toml", fed.folder)  # edited in place
    assert contents(fed.folder) == before


def test_an_institution_that_comes_later_changes_nobody_elses_files(tmp_path: Path, fed: Federation) -> None:
    admitted(fed, joined(fed))
    before, north = contents(fed.folder), contents(tmp_path / "north")
    made = provision(written(tmp_path, "north", "south", "west"), fed.folder)
    assert made.kits == ("west",)
    after = contents(fed.folder)
    assert set(after) - set(before) == {"kits/west.zip"}
    assert {n for n in before if after[n] != before[n]} == {"federation.toml"}
    admitted(made.federation, joined(made.federation, "west"))
    later = contents(fed.folder)
    assert set(later) - set(after) == {"members/west.json"}
    assert {n for n in after if later[n] != after[n]} == set()
    assert contents(tmp_path / "north") == north


def failing_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """The ``step``-th file that provisioning writes, counted from 0, is the first that fails."""
    begun: list[Path] = []

    def failing(write: Callable[..., None]) -> Callable[..., None]:
        def written(path: Path, *content: Any) -> None:
            begun.append(path)
            if len(begun) > step:
                raise OSError(28, "No space left on device", str(path))
            write(path, *content)

        return written

    patch.setattr(provisioning, "write_whole", failing(write_whole))
    patch.setattr(provisioning, "write_new", failing(write_new))


def test_a_run_that_was_cut_off_is_finished_by_the_next(
    tmp_path: Path, fed: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = set(contents(fed.folder))
    for step in range(len(whole)):
        folder = tmp_path / f"cut-{step}"
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            failing_at(step, patch)
            provision(tmp_path / "federation.toml", folder)
        half = contents(folder)
        assert len(half) == step
        finished = provision(tmp_path / "federation.toml", folder).federation
        after = contents(folder)
        assert set(after) == whole
        assert {n for n in half if after[n] != half[n]} <= {"server.key"}  # there was no certificate of it yet
        authority.check_server(finished, NOW)


@pytest.mark.parametrize(
    ("head", "place"), [({"name": "banks"}, "name"), ({"address": "other.example.org:8443"}, "address")]
)
def test_a_folder_stays_one_federations_at_one_host(
    tmp_path: Path, fed: Federation, head: dict[str, Any], place: str
) -> None:
    before = contents(fed.folder)
    assert place in refused("E_FEDERATION", lambda: provision(written(tmp_path, **head), fed.folder))
    assert contents(fed.folder) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("mine")
    refused("E_FEDERATION", lambda: provision(written(tmp_path), tmp_path / "home"))
    assert set(contents(tmp_path / "home")) == {"letter"}


def test_a_folder_whose_ca_was_lost_gets_no_other(tmp_path: Path, fed: Federation) -> None:
    fed.root_certificate.unlink()
    assert "root.crt back" in refused("E_FEDERATION", lambda: provision(tmp_path / "federation.toml", fed.folder))
    assert not fed.root_certificate.exists()


def test_a_member_is_not_left_out_silently(tmp_path: Path, fed: Federation) -> None:
    admitted(fed, joined(fed))
    file = written(tmp_path, "south")
    assert "coordinator revoke" in refused("E_MEMBER", lambda: provision(file, fed.folder))
    revoke(fed, "north")
    assert provision(file, fed.folder).federation.institution_names == ("south",)


# --- the CA and the server's certificate


def handshake(fed: Federation, roots: Path, host: str, strict: bool = True) -> str:
    """The protocol of a TLS connection to the server at ``host`` by one who trusts ``roots``; in memory. ssl.SSLError."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(roots))
    server.load_cert_chain(fed.server_certificate, fed.server_key)
    if strict:
        client.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does by itself
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, there, server_hostname=host),
        server.wrap_bio(there, back, server_side=True),
    ]
    waiting = True
    while waiting:
        waiting = False
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                waiting = True
    return str(ends[0].version())


@pytest.mark.parametrize("host", [HOST, "localhost", "127.0.0.1"])
def test_a_relay_reaches_the_server_by_the_kits_certificate(fed: Federation, host: str) -> None:
    root = joined(fed).relay.root
    assert handshake(fed, root, host) == "TLSv1.3"


def test_a_coordinator_with_an_ip_address(tmp_path: Path) -> None:
    made = provision(written(tmp_path, address="192.0.2.7:8443"), tmp_path / "fed").federation
    assert handshake(made, made.root_certificate, "192.0.2.7")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made, made.root_certificate, "192.0.2.8")


def test_another_ca_is_not_believed(tmp_path: Path, fed: Federation) -> None:
    other = provision(tmp_path / "federation.toml", tmp_path / "other").federation
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(other, fed.root_certificate, HOST)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(fed, fed.root_certificate, "elsewhere.example.org")


def server_for(fed: Federation, host: str, days: int = 30, now: datetime = NOW) -> None:
    """Put a certificate in the folder that the CA has signed for whatever host, as its key's thief would."""
    key = authority.new_private_key()
    root = authority.load_certificate(fed.root_certificate)
    signed = authority.server_certificate(
        root, authority.load_private_key(fed.root_key, ""), host, key.public_key(), now, days
    )
    fed.server_key.write_bytes(private_pem(key))
    fed.server_certificate.write_bytes(authority.pem(signed))


def test_a_stolen_ca_key_opens_no_other_connection(fed: Federation) -> None:
    server_for(fed, "bank.example.com")
    with pytest.raises(ssl.SSLCertVerificationError, match="subtree"):
        handshake(fed, fed.root_certificate, "bank.example.com")
    server_for(fed, "198.51.100.9")
    with pytest.raises(ssl.SSLCertVerificationError, match="subtree"):
        handshake(fed, fed.root_certificate, "198.51.100.9")


def test_the_ca_signs_no_further_ca_and_the_server_nothing(fed: Federation) -> None:
    root, server = (authority.load_certificate(p) for p in (fed.root_certificate, fed.server_certificate))

    def of(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> Any:
        return certificate.extensions.get_extension_for_class(kind)

    limits = of(root, x509.BasicConstraints)
    assert (limits.value.ca, limits.value.path_length, limits.critical) == (True, 0, True)
    assert of(server, x509.BasicConstraints).value.ca is False
    assert (of(root, x509.KeyUsage).value.key_cert_sign, of(root, x509.KeyUsage).value.digital_signature) == (
        True,
        False,
    )
    assert (of(server, x509.KeyUsage).value.key_cert_sign, of(server, x509.KeyUsage).critical) == (False, True)
    assert list(of(server, x509.ExtendedKeyUsage).value) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    assert of(root, x509.NameConstraints).critical
    for certificate, days in ((root, 3650), (server, 397)):
        assert timedelta(days=days) <= certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert certificate.not_valid_after_utc - NOW < timedelta(days=days + 1)
        assert NOW - certificate.not_valid_before_utc > timedelta(minutes=30)  # for clocks that are behind


def test_renewing_makes_a_new_server_key_and_leaves_all_else(tmp_path: Path, fed: Federation) -> None:
    root = joined(fed).relay.root
    before, north = contents(fed.folder), contents(tmp_path / "north")
    provision(tmp_path / "federation.toml", fed.folder, renew=True)
    after = contents(fed.folder)
    assert {n for n in before if after[n] != before[n]} == {"server.crt", "server.key"}
    assert set(after) == set(before)
    assert handshake(fed, root, HOST)  # who joined before notices nothing
    assert contents(tmp_path / "north") == north


def test_the_cas_key_may_be_kept_elsewhere(tmp_path: Path, fed: Federation) -> None:
    away = fed.root_key.rename(tmp_path / "vault.key")
    before = contents(fed.folder)
    file = written(tmp_path, "north", "south", "west")
    assert provision(file, fed.folder).kits == ("west",)  # needs no CA key
    assert "--ca" in refused("E_SECRET", lambda: provision(file, fed.folder, renew=True))
    assert contents(fed.folder)["server.key"] == before["server.key"]
    provision(file, fed.folder, renew=True, ca_key=away)
    authority.check_server(fed, NOW)
    assert contents(fed.folder)["server.key"] != before["server.key"]
    assert not fed.root_key.exists()


def test_another_cas_key_renews_nothing(tmp_path: Path, fed: Federation) -> None:
    other = provision(tmp_path / "federation.toml", tmp_path / "other").federation
    before = contents(fed.folder)
    refused("E_CERTIFICATE", lambda: provision(tmp_path / "federation.toml", fed.folder, True, other.root_key))
    other.root_key.chmod(0o644)
    refused("E_SECRET", lambda: provision(tmp_path / "federation.toml", fed.folder, True, other.root_key))
    assert contents(fed.folder) == before


def test_a_certificate_that_is_not_valid_is_reported(tmp_path: Path, fed: Federation) -> None:
    until = authority.check_server(fed, NOW)
    assert until - NOW > timedelta(days=396)
    late = until + timedelta(seconds=1)
    assert "--renew" in refused("E_CERTIFICATE", lambda: authority.check_server(fed, late))
    assert "clock" in refused("E_CERTIFICATE", lambda: authority.check_server(fed, NOW - timedelta(hours=2)))
    expired = load_federation(fed.folder)
    server_for(expired, HOST, days=1, now=NOW - timedelta(days=3))
    assert "expired on" in refused("E_CERTIFICATE", lambda: authority.check_server(expired, NOW))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(expired, fed.root_certificate, HOST)


def test_a_server_that_no_relay_would_trust_is_reported(tmp_path: Path, fed: Federation) -> None:
    other = provision(tmp_path / "federation.toml", tmp_path / "other").federation
    sound = {p: p.read_bytes() for p in (fed.server_certificate, fed.server_key)}

    def reported(change: Callable[[], object]) -> str:
        for path, content in sound.items():
            path.write_bytes(content)
        authority.check_server(fed, NOW)
        change()
        return refused("E_CERTIFICATE", lambda: authority.check_server(fed, NOW))

    assert "not of the key" in reported(lambda: fed.server_key.write_bytes(other.server_key.read_bytes()))
    assert "not for the host" in reported(lambda: server_for(fed, "other.example.org"))
    assert "no certificate" in reported(lambda: fed.server_certificate.write_text("none"))

    def of_another_ca() -> None:
        fed.server_key.write_bytes(other.server_key.read_bytes())
        fed.server_certificate.write_bytes(other.server_certificate.read_bytes())

    assert "has not signed it" in reported(of_another_ca)


# --- the join kit


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    folder = tmp_path_factory.mktemp("kit")
    return load_kit(provision(written(folder), folder / "fed").federation.kits / "north.zip")


def test_a_kit_names_whom_to_trust_and_holds_no_secret(fed: Federation) -> None:
    kit = load_kit(fed.kits / "north.zip")
    assert (kit.federation, str(kit.address), kit.institution) == ("clinics", f"{HOST}:8443", "north")
    assert kit.root == fed.root_certificate.read_bytes()
    secrets = [p for p in fed.folder.rglob("*") if p.is_file() and stat.S_IMODE(p.stat().st_mode) == 0o600]
    assert len(secrets) == 4
    with zipfile.ZipFile(fed.kits / "north.zip") as archive:
        assert set(archive.namelist()) == NAMES
        for content in map(archive.read, archive.namelist()):
            assert b"PRIVATE" not in content
            for secret in secrets:
                lines = [line for line in secret.read_bytes().splitlines() if b"PRIVATE" not in line]
                assert lines
                assert not any(line in content for line in lines)


def test_a_kits_checksums_are_those_of_sha256sum(fed: Federation, tmp_path: Path) -> None:
    with zipfile.ZipFile(fed.kits / "north.zip") as archive:
        archive.extractall(tmp_path / "out")
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "out", check=True)


def test_a_kits_study_is_one(kit: Kit, schema: Schema) -> None:
    study = study_from_document(tomllib.loads(kit.study), schema)
    assert study.institution_names == ("north", "south")
    assert study.privacy.epsilon == 3.0


NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,40}", fullmatch=True)


@given(federation=NAME, institution=NAME, text=st.text(max_size=200), port=st.integers(1, 65535))
def test_a_kit_is_read_as_it_was_packed_and_has_one_form(
    kit: Kit, federation: str, institution: str, text: str, port: int
) -> None:
    study = "".join(text.split("\r"))  # as a file of lines
    made = replace(kit, federation=federation, institution=institution, study=study, address=Address(HOST, port))
    assert unpack(pack(made)) == made
    assert pack(made) == pack(replace(made))


@given(st.data())
def test_a_kit_that_was_touched_is_refused_or_is_the_same(kit: Kit, data: st.DataObject) -> None:
    whole = pack(kit)
    touched = bytearray(whole)
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=5)):
        touched[at] = data.draw(st.integers(0, 255))
    try:
        assert unpack(bytes(touched)) == kit
    except MembershipError as error:
        assert error.code == "E_KIT"
    refused("E_KIT", lambda: unpack(whole[: data.draw(st.integers(0, len(whole) - 1))]))


def test_a_kit_whose_parts_lie_before_its_beginning(kit: Kit) -> None:
    """The standard library seeks there, and raises what is no error of zip files."""
    whole = pack(kit)
    size = len(whole) - 10  # of the directory, in the last 22 bytes
    longer = int.from_bytes(whole[size : size + 4], "little") + 31
    refused("E_KIT", lambda: unpack(whole[:size] + longer.to_bytes(4, "little") + whole[size + 4 :]))


def rezipped(kit: Kit, change: Callable[[dict[str, bytes]], object], how: int = zipfile.ZIP_STORED) -> bytes:
    """The kit's files, changed, in a new zip file."""
    with zipfile.ZipFile(io.BytesIO(pack(kit))) as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
    change(files)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_file_of_a_kit_is_under_its_checksums(kit: Kit, name: str) -> None:
    def touch(files: dict[str, bytes]) -> None:
        files[name] = b"0" + files[name]

    assert name in refused("E_KIT", lambda: unpack(rezipped(kit, touch))) or name == "SHA256SUMS"


def test_a_kit_that_somebody_zipped_again_is_the_same(kit: Kit) -> None:
    assert unpack(rezipped(kit, dict, zipfile.ZIP_DEFLATED)) == kit


@pytest.mark.parametrize(
    "name",
    [
        "../../evil",
        "/etc/evil",
        "sub/kit.toml",
        "kit.toml/",
        "..\\evil",
        "C:\\evil",
        "C:kit.toml",
        "\\kit.toml",
        "KIT.TOML",
        "node.key",
    ],
)
def test_a_file_that_belongs_in_no_kit_is_refused(kit: Kit, name: str) -> None:
    assert "does not hold just" in refused("E_KIT", lambda: unpack(rezipped(kit, lambda f: f.update({name: b"x"}))))


def test_a_kit_that_lacks_a_file_or_has_it_twice(kit: Kit) -> None:
    refused("E_KIT", lambda: unpack(rezipped(kit, lambda f: f.pop("root.crt"))))
    packed = io.BytesIO(pack(kit))
    with zipfile.ZipFile(packed, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("root.crt", "another")
    refused("E_KIT", lambda: unpack(packed.getvalue()))


def test_a_zip_bomb_is_not_unpacked(kit: Kit, tmp_path: Path) -> None:
    large = bytes(64 * 1024 * 1024)
    bomb = rezipped(kit, lambda f: f.update({"README.txt": large}), zipfile.ZIP_DEFLATED)
    assert len(bomb) < MAX_MEMBER
    assert "longer than" in refused("E_KIT", lambda: unpack(bomb))
    (tmp_path / "kit.zip").write_bytes(bytes(2 * 1024 * 1024))
    assert "larger than" in refused("E_KIT", lambda: load_kit(tmp_path / "kit.zip"))


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_of_rare_kinds_is_refused(kit: Kit, how: int) -> None:
    refused("E_KIT", lambda: unpack(rezipped(kit, dict, how)))


def test_a_kit_whose_ca_is_not_the_one_it_names(kit: Kit, tmp_path: Path) -> None:
    """Even where the checksums were made anew."""
    other = provision(written(tmp_path), tmp_path / "fed").federation.root_certificate.read_bytes()
    packed = pack(replace(kit, root=other))
    head = pack(kit)

    def swap(files: dict[str, bytes]) -> None:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            files["root.crt"] = archive.read("root.crt")
        names = sorted(NAMES - {"SHA256SUMS"})
        files["SHA256SUMS"] = "".join(f"{hashlib.sha256(files[n]).hexdigest()}  {n}\n" for n in names).encode()

    assert head != packed
    assert "not the certificate" in refused("E_KIT", lambda: unpack(rezipped(kit, swap)))


def test_what_is_no_kit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="E_INPUT_NOT_FOUND"):
        load_kit(tmp_path / "kit.zip")
    (tmp_path / "kit.zip").write_bytes(b"hello")
    refused("E_KIT", lambda: load_kit(tmp_path / "kit.zip"))


# --- joining


def test_what_an_institution_makes_and_who_may_read_it(fed: Federation, tmp_path: Path) -> None:
    made = joined(fed)
    folder = tmp_path / "north" / "relay"
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()}
    assert modes == {"relay.toml": 0o644, "root.crt": 0o644, "node.key": 0o600, "application.json": 0o644}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    read = load_relay(folder)
    assert (read, str(read.address)) == (made.relay, f"{HOST}:8443")
    assert (read.file.federation, read.file.institution) == ("clinics", "north")
    assert read.socket.resolve() == (tmp_path / "north" / "custodian.sock").resolve()
    key = serialization.load_ssh_private_key((folder / "node.key").read_bytes(), password=None)  # as Flower reads it
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP384R1)
    assert node_text(key) == load_application(read.application).node == made.application.node
    assert load_application(read.application).key == load_institution(tmp_path / "north").identity.public


def test_joining_twice_keeps_the_keys(fed: Federation, tmp_path: Path) -> None:
    first = joined(fed)
    before = {n: c for n, (c, _) in contents(tmp_path / "north").items()}
    assert joined(fed) == first
    assert {n: c for n, (c, _) in contents(tmp_path / "north").items()} == before


def test_a_relays_folder_elsewhere_finds_the_socket(fed: Federation, tmp_path: Path) -> None:
    made = join(load_kit(fed.kits / "north.zip"), site(tmp_path / "north"), tmp_path / "srv" / "relay")
    assert made.relay.socket == tmp_path / "north" / "custodian.sock"


def test_what_an_operator_wrote_into_relay_toml_stays(fed: Federation) -> None:
    file = joined(fed).relay.folder / "relay.toml"
    file.write_text(file.read_text().replace("../custodian.sock", "/run/custodian.sock"))
    assert joined(fed).relay.socket == Path("/run/custodian.sock")


@pytest.mark.parametrize("missing", ["relay.toml", "root.crt", "application.json", "node.key"])
def test_a_join_that_was_cut_off_is_finished(fed: Federation, missing: str) -> None:
    first = joined(fed)
    (first.relay.folder / missing).unlink()
    again = joined(fed)
    assert again.relay == first.relay
    assert (again.application == first.application) == (missing != "node.key")
    assert load_application(again.relay.application) == again.application


def test_another_federations_kit_does_not_enter_the_folder(fed: Federation, tmp_path: Path) -> None:
    joined(fed)
    before = contents(tmp_path / "north")
    for changed in ({"name": "banks"}, {}):  # also one of the same name, by another CA
        other = provision(written(tmp_path / "o", **changed), tmp_path / "o" / str(len(changed))).federation
        assert "--relay" in refused("E_KIT", lambda other=other: joined(other, at=tmp_path / "north"))
        assert contents(tmp_path / "north") == before
        kit = load_kit(other.kits / "north.zip")
        assert join(kit, site(tmp_path / "north"), tmp_path / "north" / f"second-{len(changed)}")
        before = contents(tmp_path / "north")


def test_another_institutions_kit_is_refused(fed: Federation, tmp_path: Path) -> None:
    site(tmp_path / "north")
    refused("E_KIT", lambda: join(load_kit(fed.kits / "south.zip"), site(tmp_path / "north"), tmp_path / "r"))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: p.chmod(0o604),
        lambda p: p.write_text("none"),
        lambda p: p.write_bytes(private_pem(new_node_key())),
        lambda p: p.write_bytes(b""),
    ],
)
def test_a_file_that_is_no_node_key_is_reported(fed: Federation, spoil: Callable[[Path], object]) -> None:
    path = joined(fed).relay.key
    path.chmod(0o640)  # the relay's user may be another
    load_node_key(path)
    spoil(path)
    assert "--rotate-node-key" in refused("E_SECRET", lambda: load_node_key(path))


@pytest.mark.parametrize("missing", ["relay.toml", "root.crt", "node.key"])
def test_a_relays_folder_that_lacks_a_file_is_reported(fed: Federation, missing: str) -> None:
    folder = joined(fed).relay.folder
    (folder / missing).unlink()
    assert "institution join" in refused("E_INSTITUTION", lambda: load_relay(folder))


@pytest.mark.parametrize(("entry", "place"), [({"address": "nowhere"}, "address"), ({"sockt": "x"}, "sockt")])
def test_a_wrong_relay_toml_is_refused_by_its_place(fed: Federation, entry: dict[str, str], place: str) -> None:
    file = joined(fed).relay.folder / "relay.toml"
    file.write_text(tomli_w.dumps(tomllib.loads(file.read_text()) | entry))
    assert place in refused("E_INSTITUTION", lambda: load_relay(file.parent))


# --- applications


@dataclass(frozen=True)
class Keys:
    identity: Ed25519PrivateKey
    node: ec.EllipticCurvePrivateKey


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys(Ed25519PrivateKey.generate(), new_node_key())


def applying(kit: Kit, keys: Keys, **changes: Any) -> Application:
    made = apply("clinics", kit.root_digest, "north", keys.identity, node_text(keys.node), None)
    return replace(made, **changes)


def in_file(folder: Path, application: Application | bytes) -> Path:
    content = application if isinstance(application, bytes) else dumps(application)
    (folder / "application.json").write_bytes(content)
    return folder / "application.json"


def test_a_fingerprint_is_what_the_documents_say(kit: Kit, keys: Keys) -> None:
    made = applying(kit, keys)
    reported = hashlib.sha256(canonical_json(["north", made.key, made.node])).hexdigest().upper()[:32]
    assert made.fingerprint == "-".join(re.findall("....", reported))
    for typed in (made.fingerprint, made.fingerprint.lower(), reported, " ".join(re.findall("..", reported)) + "\n"):
        assert made.has_fingerprint(typed)


@given(st.data())
def test_another_fingerprint_is_another(kit: Kit, keys: Keys, data: st.DataObject) -> None:
    right = applying(kit, keys).fingerprint
    at = data.draw(st.integers(0, len(right) - 1).filter(lambda i: right[i] != "-"))
    digit = data.draw(st.sampled_from("0123456789ABCDEF").filter(lambda d: d != right[at]))
    made = applying(kit, keys)
    assert not made.has_fingerprint(right[:at] + digit + right[at + 1 :])
    assert not made.has_fingerprint(right[:at])
    assert not made.has_fingerprint(right + digit)
    assert not made.has_fingerprint("")


def test_an_application_is_read_as_it_was_written(kit: Kit, keys: Keys, tmp_path: Path) -> None:
    made = applying(kit, keys)
    assert load_application(in_file(tmp_path, made)) == made
    assert set(json.loads(dumps(made))) == {
        "format", "federation", "root", "institution", "key", "node", "signature"
    }  # fmt: skip


OTHERS = {
    "federation": "banks",
    "root": "0" * 64,
    "institution": "south",
    "key": public_text(Ed25519PrivateKey.generate()),
    "node": node_text(new_node_key()),
    "signature": "0" * 128,
    "succession": succeed("north", Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()),
}


@pytest.mark.parametrize("field", OTHERS)
def test_no_word_of_an_application_can_be_changed(kit: Kit, keys: Keys, tmp_path: Path, field: str) -> None:
    forged = applying(kit, keys, **{field: OTHERS[field]})
    assert "signature" in refused("E_MEMBER", lambda: load_application(in_file(tmp_path, forged)))


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"{}", b"{" * 4000, b"\xff", b'{"format": "cohortium-application-1"}', b" " * 5000],
)
def test_what_is_no_application(tmp_path: Path, content: bytes) -> None:
    refused("E_MEMBER", lambda: load_application(in_file(tmp_path, content)))


def test_no_application_of_another_version_or_with_more_in_it(kit: Kit, keys: Keys, tmp_path: Path) -> None:
    document = json.loads(dumps(applying(kit, keys)))
    for change in ({"format": "cohortium-application-2"}, {"more": 1}):
        refused("E_MEMBER", lambda c=change: load_application(in_file(tmp_path, canonical_json(document | c))))
    with pytest.raises(InputError):
        load_application(tmp_path / "none.json")


def openssh(key: Any) -> str:
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return str(public.decode())


def test_a_node_key_has_one_kind_and_one_spelling(kit: Kit, keys: Keys, tmp_path: Path) -> None:
    text = node_text(keys.node)
    assert is_node_key(text)
    wrong = [
        text + " somebody@host", text + "\n", text[:-4], "", "ecdsa-sha2-nistp384", openssh(ec.generate_private_key(ec.SECP256R1())),
        openssh(Ed25519PrivateKey.generate()),
    ]  # fmt: skip
    for other in wrong:
        assert not is_node_key(other)
        signed = apply("clinics", kit.root_digest, "north", keys.identity, other, None)
        assert "node" in refused("E_MEMBER", lambda s=signed: load_application(in_file(tmp_path, s)))


# --- members


def test_from_an_invitation_to_membership_and_out(fed: Federation) -> None:
    assert [s.state for s in memberships(fed)] == ["invited", "invited"]
    made = joined(fed)
    assert admitted(fed, made) == made.application
    assert load_members(fed) == {"north": made.application}
    assert stat.S_IMODE((fed.members / "north.json").stat().st_mode) == 0o644
    assert [(s.institution, s.state, s.online) for s in memberships(fed)] == [
        ("north", "member", None),
        ("south", "invited", None),
    ]
    revoke(fed, "north")
    assert load_members(fed) == {}
    assert load_revoked(fed) == [made.application]
    first = made.application.fingerprint.replace("-", "")[:8]
    assert [p.name for p in fed.revoked.iterdir()] == [f"north-{first}.json"]
    assert [s.state for s in memberships(fed)] == ["revoked", "invited"]


def test_admitting_twice_changes_nothing(fed: Federation) -> None:
    made = joined(fed)
    admitted(fed, made)
    before = contents(fed.folder)
    admitted(fed, made)
    assert contents(fed.folder) == before


@pytest.mark.parametrize("typed", [None, "", "0000-0000-0000-0000-0000-0000-0000-0000", "ABCD"])
def test_nobody_is_admitted_by_no_or_another_fingerprint(fed: Federation, typed: str | None) -> None:
    made = joined(fed)
    reported = refused("E_MEMBER", lambda: admit(fed, made.relay.application, typed))
    assert made.application.fingerprint not in reported  # or it would be typed from the screen
    assert load_members(fed) == {}


def test_an_application_by_another_kit_is_refused(fed: Federation, tmp_path: Path) -> None:
    """Also one of a federation of the same name: whoever swapped the kit on its way is reported."""
    other = provision(written(tmp_path / "o"), tmp_path / "o" / "fed").federation
    made = joined(other)
    reported = refused("E_MEMBER", lambda: admit(fed, made.relay.application, made.application.fingerprint))
    assert "another federation" in reported
    banks = provision(written(tmp_path / "b", name="banks"), tmp_path / "b" / "fed").federation
    made = joined(banks)
    refused("E_MEMBER", lambda: admit(fed, made.relay.application, made.application.fingerprint))
    assert load_members(fed) == {}


def test_who_was_not_invited_is_refused(fed: Federation, tmp_path: Path, keys: Keys) -> None:
    root = root_digest(fed.root_certificate.read_bytes())
    made = apply("clinics", root, "east", keys.identity, node_text(keys.node), None)
    reported = refused("E_MEMBER", lambda: admit(fed, in_file(tmp_path, made), made.fingerprint))
    assert "[[institution]]" in reported
    assert load_members(fed) == {}


def test_two_institutions_have_two_keys(fed: Federation, tmp_path: Path) -> None:
    north = joined(fed)
    admitted(fed, north)
    identity, node = site(tmp_path / "north").identity.key, load_node_key(north.relay.key)
    root = north.application.root
    for key, text in ((identity, node_text(new_node_key())), (Ed25519PrivateKey.generate(), node_text(node))):
        made = apply("clinics", root, "south", key, text, None)
        reported = refused("E_MEMBER", lambda m=made: admit(fed, in_file(tmp_path, m), m.fingerprint))
        assert "'north' has the same key" in reported
    assert set(load_members(fed)) == {"north"}


def test_a_member_that_is_none_cannot_be_revoked(fed: Federation) -> None:
    for name in ("north", "nobody", "../north"):
        refused("E_MEMBER", lambda n=name: revoke(fed, n))
    assert list(fed.revoked.iterdir()) == []


def test_a_members_file_that_was_changed_is_reported(fed: Federation) -> None:
    admitted(fed, joined(fed))
    (fed.members / "north.json").write_bytes((fed.members / "north.json").read_bytes().replace(b"north", b"south"))
    refused("E_MEMBER", lambda: load_members(fed))


def test_a_members_file_has_its_members_name(fed: Federation) -> None:
    admitted(fed, joined(fed))
    (fed.members / "north.json").rename(fed.members / "south.json")
    assert "south.json" in refused("E_MEMBER", lambda: load_members(fed))


# --- rotation


def test_a_new_node_key_takes_the_place_of_the_old_one(fed: Federation, tmp_path: Path) -> None:
    first = joined(fed)
    admitted(fed, first)
    admitted(fed, joined(fed, "south"))
    identity, south = site(tmp_path / "north").identity.public, (fed.members / "south.json").read_bytes()
    second = joined(fed, rotate_node_key=True)
    assert second.application.node != first.application.node
    assert second.application.key == identity == site(tmp_path / "north").identity.public
    assert stat.S_IMODE(second.relay.key.stat().st_mode) == 0o600
    assert admit(fed, second.relay.application, second.application.fingerprint).replaced == first.application
    assert load_members(fed)["north"] == second.application
    assert load_revoked(fed) == [first.application]
    assert (fed.members / "south.json").read_bytes() == south


def test_a_revoked_node_key_never_comes_back(fed: Federation, tmp_path: Path) -> None:
    first = joined(fed)
    admitted(fed, first)
    old = first.relay.application.read_bytes()
    revoke(fed, "north")
    again = "--rotate-node-key"
    assert again in refused("E_MEMBER", lambda: admit(fed, first.relay.application, first.application.fingerprint))
    second = joined(fed, rotate_node_key=True)
    admitted(fed, second)
    path = in_file(tmp_path, old)  # somebody sends the old application again
    assert again in refused("E_MEMBER", lambda: admit(fed, path, first.application.fingerprint))
    assert load_members(fed)["north"] == second.application


@pytest.mark.parametrize("before", ["revoke", "rotate"])
def test_a_crash_between_two_files_lets_nobody_in(
    fed: Federation, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    first = joined(fed)
    admitted(fed, first)

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if before == "revoke":
            patch.setattr(Path, "unlink", crash)
            revoke(fed, "north")
        else:
            second = joined(fed, rotate_node_key=True)
            patch.setattr("cohortium_server.membership.members._file", crash)
            admitted(fed, second)
    assert (fed.members / "north.json").exists()
    assert load_members(fed) == {}
    assert [s.state for s in memberships(fed)] == ["revoked", "invited"]
    third = joined(fed, rotate_node_key=True)
    admitted(fed, third)
    assert load_members(fed) == {"north": third.application}


def test_a_new_identity_needs_the_old_ones_word(fed: Federation, tmp_path: Path) -> None:
    first = joined(fed)
    admitted(fed, first)
    old = site(tmp_path / "north").identity.key
    second = joined(fed, rotate_identity_key=True)
    assert second.application.node == first.application.node
    assert second.application.key == site(tmp_path / "north").identity.public != first.application.key
    stranger = Ed25519PrivateKey.generate()
    bare = apply("clinics", first.application.root, "north", stranger, first.application.node, None)
    self_made = replace(bare, succession=replace(succeed("north", stranger, stranger), former=public_text(old)))
    for forged in (bare, apply("clinics", bare.root, "north", stranger, bare.node, self_made.succession)):
        refused("E_MEMBER", lambda f=forged: admit(fed, in_file(tmp_path, f), f.fingerprint))
    assert load_members(fed)["north"] == first.application
    assert admit(fed, second.relay.application, second.application.fingerprint).replaced == first.application
    assert load_members(fed)["north"] == second.application
    reported = refused(
        "E_MEMBER", lambda: admit(fed, in_file(tmp_path, first.application), first.application.fingerprint)
    )
    assert "old one has not signed" in reported  # the old key does not come back


def test_the_old_keys_word_is_of_one_institution_and_one_key(tmp_path: Path) -> None:
    old, new, other = (Ed25519PrivateKey.generate() for _ in range(3))
    word = succeed("north", old, new)
    path = tmp_path / SUCCESSION
    path.write_bytes(dumps(word))
    assert load_succession(path, "north", public_text(new)) == word
    assert load_succession(path, "south", public_text(new)) is None
    assert load_succession(path, "north", public_text(other)) is None
    for forged in (replace(word, key=public_text(other)), replace(word, former=public_text(other))):
        path.write_bytes(dumps(forged))
        assert load_succession(path, "north", forged.key) is None
    path.write_bytes(b"{}")
    assert load_succession(path, "north", public_text(new)) is None
    assert load_succession(tmp_path / "none", "north", public_text(new)) is None


def test_the_old_keys_word_stays_until_it_is_needed(fed: Federation, tmp_path: Path) -> None:
    """Joining again, another federation, and a new node key all carry it."""
    first = joined(fed)
    admitted(fed, first)
    joined(fed, rotate_identity_key=True)
    third = joined(fed, rotate_node_key=True)
    assert third.application.follows(first.application.key)
    assert joined(fed).application == third.application
    admitted(fed, third)
    assert load_revoked(fed) == [first.application]


def test_an_identity_whose_key_was_lost_is_revoked_first(fed: Federation, tmp_path: Path) -> None:
    first = joined(fed)
    admitted(fed, first)
    anew = join(load_kit(fed.kits / "north.zip"), site(tmp_path / "new"), tmp_path / "new" / "relay")
    reported = refused("E_MEMBER", lambda: admit(fed, anew.relay.application, anew.application.fingerprint))
    assert "revoke" in reported
    revoke(fed, "north")
    admitted(fed, anew)
    assert load_members(fed) == {"north": anew.application}


def test_a_rotation_that_was_cut_off_leaves_the_old_identity(
    fed: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = joined(fed)
    admitted(fed, first)
    monkeypatch.setattr("cohortium_client.joining.KEY", "no/such/folder")
    with pytest.raises(OSError, match="No such"):
        joined(fed, rotate_identity_key=True)
    monkeypatch.undo()
    assert (tmp_path / "north" / SUCCESSION).exists()
    assert joined(fed).application == first.application


def test_studies_name_the_new_identity_from_then_on(fed: Federation, tmp_path: Path, study: Study) -> None:
    def named(serial: int) -> Study:
        keys = {"north": site(tmp_path / "north").identity.public, "south": public_text(Ed25519PrivateKey.generate())}
        members = tuple(Named(name=n, key=k) for n, k in keys.items())
        return replace(study, institutions=members, serial=serial)

    def sign(agreed: Study) -> str:
        opened = site(tmp_path / "north")
        with opened.ledger() as ledger:
            return agree(agreed, opened.identity, opened.policy, ledger, opened.agreements)

    joined(fed)
    before = named(1)
    sign(before)
    joined(fed, rotate_identity_key=True)
    refused("E_PLAN_UNTRUSTED", lambda: sign(before))
    assert sign(named(2))


# --- as people do it

runner = CliRunner()


def call(*arguments: object, code: int = 0) -> str:
    result = runner.invoke(build(), [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_the_way_of_two_institutions_into_a_federation(tmp_path: Path) -> None:
    fed, file = tmp_path / "fed", written(tmp_path)
    assert "north.zip" in call("provision", file, "--out", fed)
    (tmp_path / "t.csv").write_text("a\n1\n")
    for name in ("north", "south"):
        kit, folder = fed / "kits" / f"{name}.zip", tmp_path / name
        how = ("institution", "join", kit, folder, "--data", tmp_path / "t.csv", "--cap", 4)
        document = json.loads(call(*how, "--json"))
        assert document["fingerprint"] in call("institution", "join", kit, folder)
        application = document["application"]
        assert "by telephone" in call("coordinator", "admit", fed, application, code=24)
        call("coordinator", "admit", fed, application, "--fingerprint", document["fingerprint"][:-1] + "!", code=24)
        call("coordinator", "admit", fed, application, "--fingerprint", document["fingerprint"].lower())
    assert load_institution(tmp_path / "north").policy.epsilon_per_population == 4
    shown = json.loads(call("coordinator", "members", fed, "--json"))
    assert [(i["institution"], i["state"], i["online"]) for i in shown["institutions"]] == [
        ("north", "member", None),
        ("south", "member", None),
    ]
    roster = tomllib.loads(call("coordinator", "members", fed, "--roster"))["institution"]
    assert [i["key"] for i in roster] == [load_institution(tmp_path / n).identity.public for n in ("north", "south")]
    call("coordinator", "revoke", fed, "south")
    assert "revoked" in call("coordinator", "members", fed)
    assert "E_MEMBER" in call("coordinator", "revoke", fed, "south", code=24)


def test_joining_says_that_a_source_stays(tmp_path: Path, fed: Federation) -> None:
    site(tmp_path / "north")
    kit = fed.kits / "north.zip"
    assert "stay as they are" in call("institution", "join", kit, tmp_path / "north", "--data", "other.csv")
    assert load_institution(tmp_path / "north").file.source.path == "table.csv"


def test_a_kit_without_a_table_makes_nothing(tmp_path: Path, fed: Federation) -> None:
    call("institution", "join", fed.kits / "north.zip", tmp_path / "new", code=10)
    assert not (tmp_path / "new").exists()


def test_renewing_without_the_cas_key_says_what_to_do(tmp_path: Path, fed: Federation) -> None:
    away = fed.root_key.rename(tmp_path / "vault.key")
    file = tmp_path / "federation.toml"
    assert "--ca FILE" in call("provision", file, "--out", fed.folder, "--renew", code=SecretError.exit_code)
    call("provision", file, "--out", fed.folder, "--renew", "--ca", away)
