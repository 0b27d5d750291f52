"""The signed manifest of a release's files, and its offline check.

``manifest.json`` is canonical JSON: SHA-256 and length of every file, the study's digest, what the release cost, and
an Ed25519 signature over all of it. The manifest contains the signature's key: the signature proves that nothing
was changed since signing. Who signed is proven by comparing the key with one received by another way (``--key``).

A manifest states the release's kind; each kind has a format and a signing domain of its own, and federations another
key than the rest (``Form``): no signature on a simulation, or on output without privacy, is ever valid for a
federation's release. In format ``cohortium-release-1`` no kind was recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.errors import NotPrivateError, ReleaseError
from cohortium.study.wording import Kind
from cohortium.system.canonical import canonical_json
from cohortium.system.documents import MAX_JSON, parse_json, read_within
from cohortium.system.keys import public_text, signed_by

MANIFEST = "manifest.json"
MARK = "NOT-PRIVATE-"  # what the names of files begin with that were made without privacy


@dataclass(frozen=True)
class Form:
    """How a manifest of one kind is written and signed. kind: None where it was not recorded. key: the file of its key."""

    format: str
    kind: Kind | None
    domain: bytes
    key: str


SIGNERS = "coordinator.key", "simulation.key"
FORMS: dict[Kind, Form] = {
    "federation": Form("cohortium-release-2", "federation", b"cohortium release manifest 2\n", SIGNERS[0]),
    "simulation": Form("cohortium-simulation-1", "simulation", b"cohortium simulation manifest 1\n", SIGNERS[1]),
    "not-private": Form("cohortium-not-private-1", "not-private", b"cohortium not private manifest 1\n", SIGNERS[1]),
}
UNRECORDED = Form("cohortium-release-1", None, b"cohortium release manifest 1\n", SIGNERS[0])
UNPROTECTED = FORMS["not-private"].format
_READ = {form.format: form for form in (*FORMS.values(), UNRECORDED)}


def kind_of(manifest: Mapping[str, Any]) -> Kind | None:
    """The kind of the release; None where it was not recorded."""
    return _READ[manifest["format"]].kind


def write_manifest(folder: Path, statement: dict[str, Any], key: Ed25519PrivateKey, kind: Kind) -> None:
    """Sign ``statement`` together with its kind and the digests of all files now in ``folder``."""
    form = FORMS[kind]
    body = {
        **statement,
        "format": form.format,
        "kind": kind,
        "key": public_text(key),
        "files": {p.name: _fingerprint(p) for p in sorted(folder.iterdir())},
    }
    signature = key.sign(form.domain + canonical_json(body)).hex()
    (folder / MANIFEST).write_bytes(canonical_json({**body, "signature": signature}))


def verify(folder: Path, key: str | None = None, not_private: bool = False) -> dict[str, Any]:
    """The manifest of a release, verified.

    Raises ReleaseError: E_RELEASE_NOT_FOUND, or E_RELEASE_TOUCHED naming the file that was changed, added or removed,
    or a signature that is not ``key``'s; NotPrivateError E_NOT_PRIVATE, unless ``not_private``, where all is as it was
    signed but was made without privacy.
    """
    manifest = _signed(folder, key)
    found = {p.name for p in folder.iterdir()} - {MANIFEST}
    for name in sorted(found ^ set(manifest["files"])):
        raise _touched(name, "it is not listed in the manifest" if name in found else "it is missing")
    for name, fingerprint in manifest["files"].items():
        if _fingerprint(folder / name) != fingerprint:
            raise _touched(name, "its content is not what was signed")
    if manifest["format"] == UNPROTECTED and not not_private:
        raise NotPrivateError(
            "E_NOT_PRIVATE",
            folder.name,
            "its files are what was signed, but it has no privacy protection at all",
            "Guard it like the real tables; load_release(path, not_private=True) opens it for research.",
        )
    return manifest


def _signed(folder: Path, key: str | None) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise ReleaseError(
            "E_RELEASE_NOT_FOUND", folder.name, "there is no manifest.json", "Give the folder of a release."
        )
    try:
        data = read_within(path, MAX_JSON)
        manifest = parse_json(data)
        if isinstance(manifest["format"], str) and manifest["format"] not in _READ:
            raise _newer(manifest["format"])
        body = {k: v for k, v in manifest.items() if k != "signature"}
        form = _READ[body["format"]]
        genuine = canonical_json(manifest) == data and body.get("kind", form.kind) == form.kind
        genuine = genuine and signed_by(body["key"], manifest["signature"], form.domain + canonical_json(body))
    except (ValueError, AttributeError, KeyError, TypeError):
        genuine = False
    if not genuine:
        raise _touched(MANIFEST, "its signature does not fit its content")
    if key is not None and body["key"] != key:
        raise _touched(MANIFEST, "it is signed by another key than the one given")
    return dict(manifest)


def _fingerprint(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {"bytes": -1, "sha256": ""}
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _newer(form: str) -> ReleaseError:
    what = f"this version does not know its format ({form[:40]!r})"
    return ReleaseError("E_RELEASE_TOUCHED", MANIFEST, what, "Update this side, or get the release again.")


def _touched(name: str, what: str) -> ReleaseError:
    return ReleaseError("E_RELEASE_TOUCHED", name, what, "Do not use this release; get it again from who made it.")
