"""Consent: an institution's signature on a study's digest, and the files it travels in.

Beside ``study.toml`` lies the folder ``study.signatures`` with one file per institution. Institutions sign in any order
and send their one file to the others; a study is agreed when the files of all are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.errors import NotPrivateError, StudyError
from cohortium.study.study import Study
from cohortium.system.canonical import canonical_json
from cohortium.system.documents import load_json
from cohortium.system.files import write_whole
from cohortium.system.keys import public_text, signed_by

FORMAT = "cohortium-consent-1"
_DOMAIN = b"cohortium study consent 1\n"
MAX_FILE = 4096

Signatures = Mapping[str, str]
"""128 hex digits by the institution's name."""


def sign(study: Study, institution: str, key: Ed25519PrivateKey) -> str:
    """The institution's signature; raises as ``require_key`` and ``require_signable`` do."""
    require_signable(study)
    require_key(study, institution, public_text(key))
    return key.sign(_statement(study, institution)).hex()


def require_signable(study: Study) -> None:
    """Raises as ``require_privacy`` does, or SchemaError E_REVIEW where the schema is a draft with marks left."""
    require_privacy(study)
    study.schema.require_reviewed(f"study {study.name!r}, schema")


def require_privacy(study: Study) -> None:
    """NotPrivateError E_NOT_PRIVATE for a study without privacy: no institution signs, answers or is asked for it."""
    if study.privacy.mode == "none":
        raise NotPrivateError(
            "E_NOT_PRIVATE",
            f"study {study.name!r}",
            "it has no privacy at all: institutions' data would leave them unprotected",
            'It is for research on public tables, in one process; for anything else remove mode = "none".',
        )


def require_key(study: Study, institution: str, public: str) -> None:
    """StudyError E_NOT_IN_STUDY, or E_PLAN_UNTRUSTED if the study names another key than ``public`` for it."""
    if institution not in study.keys:
        raise StudyError(
            "E_NOT_IN_STUDY", institution, f"study {study.name!r} does not name it", "Check the institution's name."
        )
    if study.keys[institution] != public:
        raise StudyError(
            "E_PLAN_UNTRUSTED",
            institution,
            f"study {study.name!r} names another key for it",
            f'The study must have key = "{public}" for this institution.',
        )


def has_signed(study: Study, institution: str, signatures: Signatures) -> bool:
    """Whether the signature is valid; always False for a study without privacy or with a draft schema."""
    if study.privacy.mode == "none" or study.schema.marks:
        return False
    return signed_by(study.keys[institution], signatures.get(institution, ""), _statement(study, institution))


def unsigned(study: Study, signatures: Signatures) -> list[str]:
    """The institutions without a valid signature."""
    return [name for name in study.institution_names if not has_signed(study, name, signatures)]


def require_all(study: Study, signatures: Signatures) -> None:
    """StudyError E_PLAN_UNTRUSTED naming who has not signed; raises as ``require_signable`` does."""
    require_signable(study)
    if absent := unsigned(study, signatures):
        raise StudyError(
            "E_PLAN_UNTRUSTED",
            f"study {study.name!r}",
            f"{', '.join(absent)} has not signed this version of it",
            "Have every institution sign it (cohortium study sign) and put the signatures beside it.",
        )


def _statement(study: Study, institution: str) -> bytes:
    return _DOMAIN + canonical_json({"study": study.digest, "institution": institution})


def signatures_folder(study_file: Path) -> Path:
    return study_file.with_suffix(".signatures")


def write_signature(study_file: Path, study: Study, institution: str, signature: str) -> Path:
    """Write a signature beside the study; returns its file."""
    folder = signatures_folder(study_file)
    folder.mkdir(exist_ok=True)
    path = folder / f"{institution}.json"
    document = {"format": FORMAT, "study": study.digest, "institution": institution, "signature": signature}
    write_whole(path, canonical_json(document), mode=0o644)
    return path


def read_signatures(study_file: Path, study: Study) -> dict[str, str]:
    """The signatures beside a study, valid or not; a file that is malformed or about another study counts as absent."""
    found = {}
    for name in study.institution_names:
        path = signatures_folder(study_file) / f"{name}.json"
        if path.is_file():
            document = _document(path)
            if document.get("study") == study.digest and document.get("institution") == name:
                found[name] = str(document.get("signature", ""))
    return found


def _document(path: Path) -> dict[str, object]:
    try:
        document = load_json(path, MAX_FILE)
    except ValueError:
        return {}
    return document if isinstance(document, dict) and document.get("format") == FORMAT else {}
