"""What is said of who sees what, wherever it is said: true of the study's trust mode, and nothing that is true of the other only."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from console import call, call_json
from report_page import Page, codes, measure
from report_page import study as reported

from cohortium.study.generators import Autoregressive, Sweep
from cohortium.study.guarantee import guarantees
from cohortium.study.plan import plan
from cohortium.study.study import Study, dumps_schema, dumps_study
from cohortium.study.wording import ADVERSARIES, GENERAL, KINDS, Cast
from cohortium_client.custodian.institution import load_institution
from cohortium_client.source.preview import preview
from cohortium_server.release.report import Facts, render_report
from cohortium_simulation.experiment import simulate
from cohortium_simulation.federation import write_federation

pytestmark = pytest.mark.usefixtures("short_fits")  # what is asked here is not how good a fit is

DOCS = Path(__file__).parents[2] / "docs" / "privacy.md"
LOCAL = (  # false where sums are masked
    "every message of every institution",
    "every message of the institution",
    "every message, and all",
    "adds the full noise",
    "under the full noise",
    "added its noise",
    "sees all that was sent",
    "all that was sent and released",
    "each of the",
    "some other institutions",
    "numbers left it. ",
)
MASKED = (  # false where they are not
    "under masks",
    "its mask",
    "masks what leaves",
    "are masked",
    "a share of",
    "shares of the noise",
    "the sum alone",
    "the sum of every round",
    "the same sums",
    "is counted on",
    "may be missing",
)
SEVERAL = ("every institution", "all other institutions know", "those institutions")  # false of one
MODES: dict[str, dict[str, Any]] = {
    "one": {"institutions": 1},
    "two": {"institutions": 2},
    "five, local": {"institutions": 5},
    "T = 0": {"institutions": 5, "trust": "secure-sum"},
    "T = 1": {"institutions": 5, "trust": "secure-sum", "colluders": 1},
    "T = 2": {"institutions": 7, "trust": "secure-sum", "colluders": 2},
    "D = 1": {"institutions": 5, "trust": "secure-sum", "dropouts": 1},
    "D = 1, T = 1": {"institutions": 6, "trust": "secure-sum", "dropouts": 1, "colluders": 1},
}


def study_of(institutions: int, kind: Any = None, **privacy: Any) -> Study:
    one = reported(kind or Sweep(), institutions=institutions)
    return replace(one, privacy=replace(one.privacy, **privacy))


def page(study: Study) -> str:
    rows = codes(study.schema.sizes)
    facts = Facts("federation", study, plan(study), rows, measure(study, rows), 600, (), {})
    return " ".join(Page(render_report(facts)).text.split())


def shown(study: Study, folder: Path) -> str:
    (folder / "schema.toml").write_text(dumps_schema(study.schema))
    (folder / "study.toml").write_text(dumps_study(study))
    return " ".join(call("study", "show", folder / "study.toml").split())


def stated(study: Study) -> str:
    """Everything that a preview, the manifest or the account states in words."""
    promised = [f"{g.towards} sees {g.sees}" for g in guarantees(study, plan(study))]
    return " ".join([*promised, *Cast.of(study).beside, Cast.of(study).travels])


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_said_that_is_true_of_the_other_trust_mode_only(mode: str, tmp_path: Path) -> None:
    """In the rendered page, in study show, and in what manifest, account and preview are made of."""
    study = study_of(**MODES[mode])
    masked = study.privacy.trust == "secure-sum"
    for text in (page(study), shown(study, tmp_path), stated(study)):
        said = [words for words in (LOCAL if masked else MASKED) if words in text]
        assert not said
        assert any(words in text for words in (MASKED if masked else LOCAL))  # so the lists are not idle
        for g in guarantees(study, plan(study)):
            assert g.towards in text and g.sees in text
    if len(study.institutions) == 1:
        assert not [words for words in SEVERAL if words in stated(study)]


@pytest.mark.parametrize("kind", [Sweep(), Autoregressive(rounds=2)], ids=lambda k: k.kind)
def test_a_trained_kind_is_described_alike(kind: Any) -> None:
    for mode in ("five, local", "T = 1"):
        study = study_of(kind=kind, **MODES[mode])
        wrong = LOCAL if study.privacy.trust == "secure-sum" else MASKED
        assert not [words for words in wrong if words in page(study)]


def test_each_line_of_words_is_of_some_mode(tmp_path: Path) -> None:
    """A line that nobody ever says would forbid nothing."""
    texts = {mode: page(study_of(**MODES[mode])) + shown(study_of(**MODES[mode]), tmp_path) for mode in MODES}
    for words in (*LOCAL, *MASKED):
        assert any(words in text for text in texts.values()), words


def test_the_numbers_are_the_studys() -> None:
    masked = study_of(6, trust="secure-sum", dropouts=1, colluders=1)
    assert masked.honest == 4
    assert "The noise of 4 of 6 institutions is counted on: 1 may be missing when it is opened, and 1 may" in page(
        masked
    )
    assert "at least 4 of 6 institutions added their shares" in stated(masked)
    assert "at least 5 of all 6 institutions" in stated(masked)
    assert "the sum over all 5 institutions" in stated(study_of(**MODES["T = 0"]))
    assert "the coordinator together with one institution sees" in stated(study_of(**MODES["T = 0"]))
    assert "the coordinator together with one institution sees" in stated(study_of(**MODES["T = 1"]))
    assert "the coordinator together with up to 2 institutions sees" in stated(study_of(**MODES["T = 2"]))


def test_the_noise_of_a_count_is_described_as_what_it_is() -> None:
    """All of it, or a share; and in the sum as many as are in it."""
    share = re.compile(r"a share of [0-9.]+( to [0-9.]+)? rows in every count")
    assert share.search(page(study_of(**MODES["five, local"]))) is None
    assert share.search(page(study_of(**MODES["T = 0"]))) is not None
    text = page(study_of(**MODES["D = 1"]))
    assert "in the sum of 4," in text and "in that of all" in text


def test_manifest_account_and_preview_say_the_same(study: Study, tables: dict[str, Any], tmp_path: Path) -> None:
    for trust in ("local", "secure-sum"):
        one = replace(study, name=trust, privacy=replace(study.privacy, trust=trust))
        release = simulate(one, tables, tmp_path / f"{trust}-release", seed=1)
        wrong = LOCAL if trust == "secure-sum" else MASKED
        for name in ("manifest.json", "ledger.json", "report.html"):
            text = unescape((release.path / name).read_text())
            assert not [words for words in wrong if words in text]
            assert Cast.of(one).sees("coordinator") in text
        folder = write_federation(tmp_path / trust, one, tables)
        site = folder / "institutions" / "north"
        document = preview(load_institution(site), one)
        assert document["beside"] == list(Cast.of(one).beside)
        assert document["guarantees"] == release.manifest["guarantees"]
        text = " ".join(call("institution", "preview", site, folder / "study.toml").split())
        assert not [words for words in wrong if words in text]
        assert all(words in text for words in Cast.of(one).beside)
        assert call_json("study", "show", folder / "study.toml")["travels"] == Cast.of(one).travels


def test_masks_take_keys_and_with_dropouts_more() -> None:
    local, masked, dropping = (Cast.of(study_of(**MODES[mode])).beside for mode in ("five, local", "T = 0", "D = 1"))
    assert (len(local), len(masked), len(dropping)) == (4, 5, 5) and masked[:4] == dropping[:4] == local
    assert "public key of its masks" in masked[4] and "encrypted shares" in dropping[4]


def test_the_documentation_says_the_same() -> None:
    """Each adversary's line in docs/privacy.md, with letters for numbers; and where T is 0."""
    lines = DOCS.read_text().splitlines()
    general = [*GENERAL.values(), replace(GENERAL["secure-sum"], colluders=0)]
    wanted = {f"| {cast.towards(a)} | {cast.sees(a)} |" for cast in general for a in ADVERSARIES}
    assert len(wanted) == 9
    for line in wanted:
        assert sum(found.startswith(line) for found in lines) == 1, line
    written = [line for line in lines if line.startswith(("| the public |", "| the coordinator"))]
    assert len(written) == 9


def test_every_kind_has_its_words() -> None:
    assert len(set(KINDS.values())) == len(KINDS) == 3
