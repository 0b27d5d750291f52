"""The private CA of a federation, and the server's certificate, which it alone signs.

Certificates are as RFC 5280 has them, P-384 throughout. The CA may sign for the address' host and this machine and for
nothing else (name constraints), so that a stolen CA key cannot intercept other connections of those who trust it.
OpenSSL and Go read constraints of IP addresses; BoringSSL does not, and refuses the CA (Flower connects by HTTP and OpenSSL).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cohortium.errors import MembershipError, SecretError
from cohortium.federation.probe import load_certificate as load_certificate
from cohortium.system.address import Address
from cohortium.system.keys import read_secret
from cohortium.system.listening import LOOPBACK, LOOPBACK_6
from cohortium_server.membership.federation import Federation

ROOT_DAYS = 3650
CLOCK_SLACK = timedelta(hours=1)  # by which an institution's clock may be behind
BRING_BACK = "The CA's key was taken off this machine: put it back for a moment, or name it with --ca FILE."
RENEW = "Run: cohortium provision federation.toml --out FED --renew."


_OVER_IPV6 = x509.IPAddress(ip_address(LOOPBACK_6))  # this machine; older CAs do not allow these names


def new_private_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def load_private_key(path: Path, fix: str) -> ec.EllipticCurvePrivateKey:
    """SecretError E_SECRET with the next step ``fix`` if there is no such file, others may read it, or it is no EC key."""
    try:
        key = serialization.load_pem_private_key(read_secret(path, fix), password=None)
    except (ValueError, TypeError):  # TypeError: it is encrypted
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SecretError("E_SECRET", path.name, "it is not an EC private key in PEM without a password", fix)
    return key


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def root_certificate(name: str, host: str, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """The CA of the federation ``name`` whose coordinator is at ``host``, signed by its own key for ten years."""
    subject = _subject(name, "Cohortium root")
    return (
        _begun(subject, subject, key.public_key(), now, now + timedelta(days=ROOT_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints([_within(n) for n in names_of(host, True)], None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )


def server_certificate(
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    host: str,
    public: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
) -> x509.Certificate:
    """A server's certificate for ``host`` and this machine, valid for ``days`` but no longer than the CA.

    MembershipError E_CERTIFICATE if ``root_key`` is not the CA's, or the CA has expired.
    """
    if root.public_key() != root_key.public_key():
        raise _refused("ca/root.key", "it is not the key of ca/root.crt", "Name the right file with --ca FILE.")
    until = min(now + timedelta(days=days), root.not_valid_after_utc)
    if until <= now:
        raise _refused("ca/root.crt", f"it expired on {until:%Y-%m-%d}", "Provision another folder, with new kits.")
    return (
        _begun(_subject(name_of(root), "Cohortium coordinator"), root.subject, public, now, until)
        .add_extension(x509.SubjectAlternativeName(names_of(host, _may_sign(root, _OVER_IPV6))), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA384())
    )


def _begun(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(until)
    )


def _subject(name: str, role: str) -> x509.Name:
    """A role, not a host: hosts are in the alternative names."""
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name), x509.NameAttribute(NameOID.COMMON_NAME, role)]
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def names_of(host: str, over_ipv6: bool = False) -> list[x509.GeneralName]:
    """The names of a coordinator at ``host``: that host and its own machine, by IPv6 too where its CA allows it."""
    names = [_general(Address(h, 1)) for h in (host.lower(), "localhost", LOOPBACK)]
    return list(dict.fromkeys([*names, *[_OVER_IPV6] * over_ipv6]))


def _general(address: Address) -> x509.GeneralName:
    return x509.DNSName(address.host) if address.ip is None else x509.IPAddress(address.ip)


def _within(name: x509.GeneralName) -> x509.GeneralName:
    """The subtree that holds this name alone (of a DNS name also those below it: RFC 5280 has no narrower one)."""
    return name if isinstance(name, x509.DNSName) else x509.IPAddress(ip_network(name.value))


def name_of(root: x509.Certificate) -> str:
    """The name of a CA's federation."""
    return str(root.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)


def may_sign_for(root: x509.Certificate, host: str) -> bool:
    return all(_may_sign(root, name) for name in names_of(host))


def _may_sign(root: x509.Certificate, name: x509.GeneralName) -> bool:
    permitted = root.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    return _within(name) in permitted


def check_server(federation: Federation, now: datetime) -> datetime:
    """The end of the server certificate's validity.

    MembershipError E_CERTIFICATE if it is not valid at ``now``, or does not fit the CA, the address or the server's key.
    """
    certificate, where = load_certificate(federation.server_certificate), federation.server_certificate.name
    root = load_certificate(federation.root_certificate)
    if certificate.public_key() != load_private_key(federation.server_key, RENEW).public_key():
        raise _refused(where, "it is not of the key in server.key", RENEW)
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        raise _refused(where, "ca/root.crt has not signed it", RENEW) from None
    try:
        names = set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, ValueError):
        names = set()
    if not set(names_of(federation.address.host)) <= names:
        raise _refused(where, "it is not for the host of federation.toml, address", RENEW)
    if _general(federation.control) not in names:
        fix = f"Choose {LOOPBACK} there; a server's certificate that is older may only have to be renewed (--renew)."
        raise _refused(where, "it is not for the host of federation.toml, control", fix)
    for of, path in ((root, "ca/root.crt"), (certificate, where)):
        _check_dates(of, path, now)
    return certificate.not_valid_after_utc


def _check_dates(certificate: x509.Certificate, where: str, now: datetime) -> None:
    if now >= certificate.not_valid_after_utc:
        raise _refused(where, f"it expired on {certificate.not_valid_after_utc:%Y-%m-%d}", RENEW)
    if now < certificate.not_valid_before_utc:
        raise _refused(where, f"it is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}", "Set the clock.")


def _refused(where: str, what: str, fix: str) -> MembershipError:
    return MembershipError("E_CERTIFICATE", where, what, fix)
