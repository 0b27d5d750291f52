"""Of which kind a release is: what ran it says so, in manifest, report and screen; neither passes for the other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from console import call, call_json
from enlisted import identity, key_of
from local_federation import (
    SWEEP,
    Start,
    begin,
    go,
    start_fixture,  # noqa: F401 (fixtures)
)

from cohortium.errors import ReleaseError
from cohortium.study import consent
from cohortium.study.study import Study, dumps_schema, dumps_study, load_study
from cohortium.study.wording import KINDS, UNRECORDED, Kind
from cohortium.system.canonical import canonical_json
from cohortium.system.keys import load_key, public_text
from cohortium_server.release import Release, load_release, write_release
from cohortium_server.release.manifest import FORMS, verify, write_manifest
from cohortium_simulation.experiment import sign_all

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is
FORMATS = Path(__file__).parents[2] / "vectors" / "formats"


Make = Callable[[Study], Release]


@pytest.fixture
def make(start: Start, tmp_path: Path) -> Make:
    """A release of a study whose custodians were asked over a transport."""

    def made(study: Study) -> Release:
        return load_release(
            write_release(go(begin(tmp_path, study), start(study)), tmp_path / f"{study.name}-release", seed=1)
        )

    return made


@pytest.fixture
def federated(make: Make) -> Release:
    return make(replace(SWEEP, name="federated"))


@pytest.fixture
def release(make: Make) -> Release:
    """One of made-up institutions."""
    return make(replace(SWEEP, name="made-up", simulated=True))


def test_a_simulation_says_that_it_is_one(release: Release) -> None:
    assert release.kind == release.manifest["kind"] == "simulation"
    assert "simulation" in repr(release) and "epsilon" in repr(release)
    assert load_study(release.path / "study.toml").simulated
    report = unescape((release.path / "report.html").read_text())
    head = report[: report.index("</header>")]
    assert KINDS["simulation"] in head and "from a simulation" in head and ", from a simulation</title>" in head
    assert KINDS["federation"] not in report
    output = call("verify", release.path)
    assert KINDS["simulation"] in output and "2 institutions are made up" in output
    assert "have signed" not in output
    assert call_json("verify", release.path)["kind"] == "simulation"


def test_a_federation_says_that_it_is_one(federated: Release) -> None:
    assert federated.kind == federated.manifest["kind"] == "federation"
    assert "federation" in repr(federated)
    assert not federated.study.simulated and "simulated" not in (federated.path / "study.toml").read_text()
    report = unescape((federated.path / "report.html").read_text())
    assert KINDS["federation"] in report[: report.index("</header>")] and "imulation" not in report
    output = call("verify", federated.path)
    assert KINDS["federation"] in output and "All 2 institutions have signed" in output
    assert call_json("verify", federated.path)["kind"] == "federation"


def test_a_federation_is_signed_by_the_coordinators_key(federated: Release, home: Path) -> None:
    assert [p.name for p in home.glob("*.key")] == ["coordinator.key"]
    assert federated.manifest["key"] == public_text(load_key(home / "coordinator.key"))


def test_no_simulation_reaches_the_coordinators_key(release: Release, home: Path) -> None:
    assert [p.name for p in home.glob("*.key")] == ["simulation.key"]
    assert release.manifest["key"] == public_text(load_key(home / "simulation.key"))


def test_formats_and_domains_are_all_apart() -> None:
    forms = list(FORMS.values())
    assert len({f.format for f in forms}) == len({f.domain for f in forms}) == len(FORMS) == 3
    assert FORMS["federation"].key != FORMS["simulation"].key == FORMS["not-private"].key


def _said_to_be(kind: Kind, folder: Path) -> None:
    """Another kind in the manifest, under the signature as it was."""
    document = json.loads((folder / "manifest.json").read_text())
    text = (folder / "manifest.json").read_text()
    text = text.replace(f'"format":"{document["format"]}"', f'"format":"{FORMS[kind].format}"')
    (folder / "manifest.json").write_text(text.replace(f'"kind":"{document["kind"]}"', f'"kind":"{kind}"'))


def _signed_as(kind: Kind, folder: Path) -> None:
    """Signed anew, with all that was stated, as another kind."""
    document = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").unlink()
    statement = {k: v for k, v in document.items() if k not in ("signature", "files", "key", "format", "kind")}
    write_manifest(folder, statement, key_of("somebody"), kind)


@pytest.mark.parametrize("dressed", [_said_to_be, _signed_as])
def test_a_simulation_never_passes_for_a_federation(release: Release, dressed: Callable[[Kind, Path], None]) -> None:
    """Its institutions have signed that they are made up, so even whoever signs it anew as a federation's is found out."""
    dressed("federation", release.path)
    with pytest.raises(ReleaseError) as caught:
        load_release(release.path)
    assert caught.value.code == "E_RELEASE_TOUCHED"
    assert call_json("verify", release.path, code=17)["error"]["code"] == "E_RELEASE_TOUCHED"  # type: ignore[index]


def test_the_signature_covers_the_kind(federated: Release) -> None:
    _said_to_be("simulation", federated.path)
    with pytest.raises(ReleaseError):
        load_release(federated.path)


def test_a_kind_that_is_not_its_formats_is_refused(federated: Release) -> None:
    """Even under a genuine signature: a manifest says one thing."""
    manifest = federated.manifest
    body = {k: v for k, v in manifest.items() if k != "signature"} | {
        "kind": "simulation",
        "key": public_text(key_of("x")),
    }
    signature = key_of("x").sign(FORMS["federation"].domain + canonical_json(body)).hex()
    (federated.path / "manifest.json").write_bytes(canonical_json({**body, "signature": signature}))
    with pytest.raises(ReleaseError, match="does not fit"):
        load_release(federated.path)


def test_what_was_simulated_cannot_be_unsaid(release: Release) -> None:
    """Taken out of the study, it is no longer what the institutions have signed."""
    bare = replace(release.study, simulated=False)
    assert bare.digest != release.study.digest
    (release.path / "study.toml").write_text(dumps_study(bare))
    _signed_as("federation", release.path)
    with pytest.raises(ReleaseError, match="not this study's account"):
        load_release(release.path)


def test_made_up_institutions_sign_that_they_are(study: Study) -> None:
    signed, signatures = sign_all(study, [identity(name) for name in study.institution_names])
    assert signed.simulated
    consent.require_all(signed, signatures)
    assert set(consent.unsigned(replace(signed, simulated=False), signatures)) == set(study.institution_names)


def test_a_study_of_made_up_institutions_says_so_before_it_runs(study: Study, tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(dumps_schema(study.schema))
    for simulated in (False, True):
        (tmp_path / "study.toml").write_text(dumps_study(replace(study, simulated=simulated)))
        assert call_json("study", "show", tmp_path / "study.toml")["simulated"] is simulated
        shown = " ".join(call("study", "show", tmp_path / "study.toml").split())
        assert (KINDS["simulation"] in shown) is simulated


def test_studies_that_were_signed_before_keep_their_digests(study: Study) -> None:
    assert "simulated" not in dumps_study(study)
    assert replace(study, simulated=True).digest != study.digest


def test_a_release_from_before_kinds_says_that_none_was_recorded(tmp_path: Path) -> None:
    shutil.copytree(FORMATS / "1" / "release", tmp_path / "old")
    old = load_release(tmp_path / "old")
    assert old.kind is None and "not recorded" in repr(old)
    assert UNRECORDED in call("verify", tmp_path / "old")
    assert call_json("verify", tmp_path / "old")["kind"] is None


def test_a_format_of_a_later_version_is_named(release: Release) -> None:
    text = (release.path / "manifest.json").read_text()
    (release.path / "manifest.json").write_text(text.replace(release.manifest["format"], "cohortium-release-9"))
    with pytest.raises(ReleaseError, match=r"this version does not know its format \('cohortium-release-9'\)"):
        verify(release.path)
