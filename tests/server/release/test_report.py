"""The public report: what it shows, what it must never show, and that it runs nothing and loads nothing."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import datetime
from functools import cache

import numpy as np
import pytest
from report_page import COLUMNS, NASTY, Page, codes, measure, study

from cohortium.data.columns import Boolean, Column, Continuous, Datetime, Ordinal
from cohortium.data.schema import Schema
from cohortium.queries.marginals import Marginals
from cohortium.study.generators import Autoregressive, GeneratorPlan, Sweep
from cohortium.study.guarantee import guarantees, in_hundred
from cohortium.study.plan import plan
from cohortium_server.gate import Criterion
from cohortium_server.generators import Curve, Measured
from cohortium_server.release.carried import carried
from cohortium_server.release.page.budget import phase_view
from cohortium_server.release.page.cells import MOST_BARS, MOST_POINTS, cells_of
from cohortium_server.release.page.curves import HEIGHT, MOST_DRAWN, chart, drawable
from cohortium_server.release.page.evidence import Evidence
from cohortium_server.release.page.pairs import association, compared
from cohortium_server.release.report import Facts, render_report

KINDS: tuple[GeneratorPlan, ...] = (Sweep(targets=("pain",)), Autoregressive(rounds=2))


CURVES = (Curve(f"length of {NASTY}", (0.9, 0.5, 0.25, 0.3), 0.2), Curve("look", (-1.0, 2.0)))
MET = Criterion("rows", True, "812", "at least 500", "fewer carry too little")


def single(cells: int) -> list[list[int]]:
    return [[k] for k in range(cells)]


def new_facts(generator: GeneratorPlan, columns: tuple[Column, ...] = COLUMNS, institutions: int = 2) -> Facts:
    agreed = study(generator, columns, institutions)
    real = codes(agreed.schema.sizes)
    provenance = {"run": "ab" * 16, "python": "3.11"}
    synthetic = codes(agreed.schema.sizes, seed=2)
    return Facts("federation", agreed, plan(agreed), synthetic, measure(agreed, real), 603, (MET,), provenance)


facts = cache(new_facts)


@cache
def report(generator: GeneratorPlan) -> str:
    return render_report(facts(generator))


@pytest.fixture(params=KINDS, ids=lambda kind: kind.kind)
def rendered(request: pytest.FixtureRequest) -> str:
    return report(request.param)


def test_it_runs_nothing_and_loads_nothing(rendered: str) -> None:
    page = Page(rendered)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "use"} & set(page.tags)
    assert not [a for a in page.attributes if a[1].startswith("on") or a[1] in ("src", "srcset", "style")]
    assert all(value.startswith("#") for _, name, value in page.attributes if name.endswith("href"))
    assert not re.search(r"https?://|url\(|@import|javascript:", rendered.replace("http://www.w3.org/2000/svg", ""))
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


@pytest.mark.parametrize("generator", KINDS, ids=lambda kind: kind.kind)
def test_same_facts_same_bytes(generator: GeneratorPlan) -> None:
    assert render_report(new_facts(generator)) == report(generator)


def test_texts_of_the_schema_are_shown_as_texts(rendered: str) -> None:
    page = Page(rendered)
    assert "<script" not in rendered and "<i>tags" not in rendered and "<b>bold" not in rendered
    for words in (NASTY, "<i>tags</i>", "<b>bold</b>", "Compare <wards> & triage"):
        assert words in page.texts
    assert any(NASTY in value for _, name, value in page.attributes if name == "aria-label")


@pytest.mark.parametrize("generator", KINDS, ids=lambda kind: kind.kind)
def test_other_texts_are_escaped_too(generator: GeneratorPlan) -> None:
    bad = "<img src=x onerror=alert(1)>"
    judged = Criterion(bad, False, bad, bad, bad)
    page = Page(render_report(replace(facts(generator), verdict=[judged], provenance={bad: bad})))
    assert "img" not in page.tags and page.texts.count(bad) == 6


def test_every_bar_is_a_value_of_the_schema(rendered: str) -> None:
    """The labels in the drawings are the cells' ends, or say how many cells were put together."""
    allowed = {"<b>bold</b>", "a & b", "it's", "false", "true", "missing", "none", "some", "much"}
    allowed |= {f"ward {k}" for k in range(40)} | {"17 other categories", "exactly 0", *COLUMN_NAMES}
    number = r"−?\d+(\.\d)?( to −?\d+(\.\d)?)?"
    date = r"2020-\d\d-\d\d( to \d\d-\d\d)?"
    for label in re.findall(r'<text [^>]*class="(?:label|tick)[^"]*"[^>]*>([^<]*)', rendered):
        plain = label.replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'").replace("&amp;", "&")
        known = plain in allowed or plain.endswith("…")
        assert known or re.fullmatch(number, plain) or re.fullmatch(date, plain), plain


COLUMN_NAMES = {c.name for c in COLUMNS}


def test_a_screen_reader_reads_headings_and_drawings(rendered: str) -> None:
    page = Page(rendered)
    drawings = [i for i, tag in enumerate(page.tags) if tag == "svg"]
    described = [a for a in page.attributes if a[:2] == ("svg", "aria-label")]
    ornaments = rendered.count('<div class="legend" aria-hidden="true">')
    assert len(described) >= len(COLUMNS) + 1 and all(words.strip() for _, _, words in described)
    assert len(drawings) - len(described) == 2 * 1 + 3 * (ornaments - 1)
    assert page.tags.count("h1") == 1 and ("html", "lang", "en") in page.attributes


@pytest.mark.parametrize("generator", KINDS, ids=lambda kind: kind.kind)
def test_what_it_says_of_the_budget(generator: GeneratorPlan) -> None:
    text = Page(report(generator)).text
    assert "Differentially private is not the same as anonymous by law." in text
    assert "by at most the factor e ε = 2.72" in text
    assert f"{facts(generator).plan.cost.epsilon:.4f}" in text and "Rényi DP (check)" in text
    assert "clinic 0, clinic 1" in text and "cohortium verify RELEASE" in text
    assert all(phase.name in text for phase in facts(generator).plan.phases)


@pytest.mark.parametrize("generator", KINDS, ids=lambda kind: kind.kind)
def test_what_holds_towards_whom(generator: GeneratorPlan) -> None:
    page = Page(report(generator))
    promised = guarantees(facts(generator).study, facts(generator).plan)
    assert len(promised) == 4
    for g in promised:
        first = page.texts.index(g.towards)
        line = "".join(page.texts[first : first + 8])
        for words in (g.sees, f"{g.cost.epsilon:.4f}", f"{g.cost.check:.4f}", in_hundred(g.attack_rate)):
            assert words in line
    assert f"right about at most {in_hundred(promised[1].attack_rate)} in 100 of those who did" in page.text


def test_pairs_are_compared_only_where_they_were_measured() -> None:
    both, alone = (Page(report(kind)).text for kind in KINDS)
    assert "beyond noise" in both and "synthetic rows only" not in both
    assert "synthetic rows only" in alone and "beyond noise" not in alone


def test_a_column_without_a_measurement_says_so() -> None:
    whole = facts(KINDS[1])
    some = replace(whole, measured=whole.measured[1:])
    assert "Not measured by itself" in Page(render_report(some)).text
    assert "Not measured by itself" not in Page(report(KINDS[1])).text


def test_estimates_are_averaged_by_precision_over_all_tables() -> None:
    """A column's own table, and the margin of a pair, in which the noise of three cells adds up."""
    columns: tuple[Column, ...] = (Boolean(name="a"), Ordinal(name="b", categories=("x", "y", "z")))
    measured = (
        Measured((0,), np.array([40.0, 60.0]), 1.0),
        Measured((0, 1), np.full((2, 3), 20.0), 1.0),
    )
    known = Evidence(Schema(columns=columns).sizes, np.empty((0, 2), np.int16), measured, 100)
    estimate = known.estimate((0,))
    assert estimate.shares == pytest.approx(np.array([40 + 60 / 3, 60 + 60 / 3]) / (1 + 1 / 3) / 100)
    assert estimate.sd == pytest.approx(1 / np.sqrt(1 + 1 / 3) / 100)
    assert known.holds((1,)) and known.holds((0, 1))
    assert not replace(known, measured=measured[:1]).holds((1,))


def test_a_finely_declared_column_is_shown_in_its_merged_cells() -> None:
    """A thousand cells, of which one holds half of the rows: bars of about the same count, and that one by itself."""
    columns: tuple[Column, ...] = (Continuous(name="cost", lower=0, upper=1e6, nullable=True), Boolean(name="b"))
    agreed = study(Sweep(), columns)
    rows = codes(agreed.schema.sizes, 4000)
    rows[::2, 0] = 7
    known = Evidence(agreed.schema.sizes, rows, measure(agreed, rows, 0.1), len(rows))
    assert agreed.schema.sizes[0] > 500 > len(known.groups(0)) == 16 + 1
    assert [7] in known.groups(0)
    for table in ((0,), (0, 1)):
        assert np.abs(known.shares(table) - known.estimate(table).shares).max() < 0.002
    text = Page(
        render_report(Facts("federation", agreed, plan(agreed), rows, known.measured, len(rows), (MET,), {}))
    ).text
    assert "missing" in text


def test_noise_alone_is_reported_as_noise() -> None:
    """Equal tables under noise: the difference is about what noise alone would give, pair by pair."""
    base = facts(KINDS[0])
    measured = measure(base.study, base.synthetic, 5.0)
    same = replace(base, measured=measured, rows_measured=len(base.synthetic)).evidence
    for columns in [(0, 2), (1, 2), (2, 3)]:
        pair = compared(same, columns)
        assert pair.difference == pytest.approx(pair.noise, rel=0.2)


def test_a_real_difference_stands_out_of_the_noise() -> None:
    columns: tuple[Column, ...] = (Boolean(name="a"), Boolean(name="b"))
    base = facts(Sweep(), columns)
    together = np.repeat(base.synthetic[:, :1], 2, axis=1)  # the real columns are equal, the synthetic ones not
    pair = compared(replace(base, measured=measure(base.study, together)).evidence, (0, 1))
    assert pair.beyond > 0.4


def test_association_is_one_for_equal_columns_and_none_for_constant_ones() -> None:
    columns: tuple[Column, ...] = tuple(Ordinal(name=n, categories=("x", "y", "z")) for n in "abcd")
    base = facts(Autoregressive(rounds=1), columns)
    rows = base.synthetic.copy()
    rows[:, 1], rows[:, 2] = rows[:, 0], 0
    known = replace(base, synthetic=rows)
    cells = cells_of(columns[0], np.ones(3) / 3, single(3))
    equal, constant, apart = (association(known.evidence, cells, cells, (0, j)) for j in (1, 2, 3))
    assert equal == pytest.approx(1, abs=1e-3)
    assert constant is None
    assert apart == pytest.approx(0, abs=0.15)
    assert "a and b" in Page(render_report(known)).text


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: c.name[:12])
def test_bars_hold_every_cell_once(column: Column) -> None:
    cells = cells_of(column, np.random.default_rng(0).dirichlet(np.ones(column.size)), single(column.size))
    assert len(cells.bar) == column.size and len(set(cells.labels)) == len(cells.labels) == cells.bar.max() + 1
    assert len(cells.labels) <= MOST_BARS + MOST_POINTS + 1
    assert cells.grouped(np.ones(column.size)) == pytest.approx(cells.counts)


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (Boolean(name="x", nullable=True), ("false", "true", "missing")),
        (Continuous(name="x", lower=0, upper=9, bins=2), ("0 to 4", "5 to 9")),
        (
            Continuous(name="x", lower=-1, upper=1, decimals=1, bins=2, points=(0.5,)),
            ("−1 to −0.1", "0 to 1", "exactly 0.5"),
        ),
        (
            Datetime(name="x", lower=datetime(2020, 12, 1), upper=datetime(2021, 1, 29), bins=2),
            ("2020-12-01 to 12-30", "2020-12-31 to 2021-01-29"),
        ),
        (
            Datetime(name="x", lower=datetime(2020, 1, 1), upper=datetime(2020, 1, 1, 3), resolution="hour", bins=2),
            ("2020-01-01 00:00 to 01:00", "2020-01-01 02:00 to 03:00"),
        ),
    ],
)
def test_labels_are_the_values_at_both_ends(column: Column, labels: tuple[str, ...]) -> None:
    assert cells_of(column, np.ones(column.size), single(column.size)).labels == labels


@pytest.mark.parametrize("generator", [Sweep(), Autoregressive(rounds=1)], ids=lambda kind: kind.kind)
def test_one_column_one_institution(generator: GeneratorPlan) -> None:
    text = Page(render_report(facts(generator, (Boolean(name="only"),), 1))).text
    assert "The table has one column" in text


def test_a_gate_that_judged_nothing_was_not_passed() -> None:
    assert "✗ failed" in Page(render_report(replace(facts(KINDS[0]), verdict=()))).text
    assert "✓ passed" in Page(report(KINDS[0])).text


def test_a_round_of_gradients_is_described_in_words() -> None:
    """At a coordinator that sees messages, and under masks, where each institution adds a share."""
    seen = study(Autoregressive(rounds=3, steps=1, sampling_rate=0.25), institutions=4)
    masked = replace(seen, privacy=replace(seen.privacy, trust="secure-sum"))
    for one, shares in ((seen, 1), (masked, 4)):
        phase = plan(one).phases[-1]
        view = phase_view(one, phase)
        assert view.asked == "one training step a round, on a random 25.0\u202f% of the persons"
        assert view.noise.startswith(f"{shares**0.5 * phase.multiplier:.3g} × the most that one person can move")
        assert ("adds a share" in view.noise) == (shares > 1)
        assert view.rounds == 3 and view.numbers == phase.query.width
    several = study(Autoregressive(rounds=2, steps=4, sampling_rate=1.0))
    assert phase_view(several, plan(several).phases[-1]).asked == "4 training steps a round, each on all persons"


def test_what_is_sent_is_as_long_as_its_numbers() -> None:
    """Eight bytes each; under masks as many as the ring's have."""
    seen = study(Sweep(), institutions=4)
    small = replace(seen.privacy, trust="secure-sum", epsilon=20.0, population=1000)
    for one, each in ((seen, 8), (replace(seen, privacy=small), 4)):
        phase = plan(one).phases[-1]
        assert phase_view(one, phase).sent == f"{each * phase.query.width / 1000:.3g} kB"


def test_curves_have_a_section_of_their_own_or_none() -> None:
    without, shown = report(KINDS[1]), render_report(replace(facts(KINDS[1]), curves=CURVES))
    assert "How the training went" not in without and 'href="#training"' not in without
    page = Page(shown)
    assert "How the training went" in page.texts and 'href="#training"' in shown
    assert "Only noised or synthetic quantities are shown" in page.text
    assert f"length of {NASTY}" in page.texts and "<script" not in shown
    assert shown.count('class="curve"') == 2 and shown.count('class="level"') == 1
    assert render_report(replace(facts(KINDS[1]), curves=CURVES)) == shown


def test_a_page_of_curves_without_a_level_explains_none() -> None:
    assert "dashed" not in Page(render_report(replace(facts(KINDS[1]), curves=CURVES[1:]))).text


def test_a_screen_reader_reads_a_curve() -> None:
    page = Page(chart(CURVES[1]))
    words = "look: 2 values, the first −1, the last 2, from −1 to 2."
    assert ("svg", "aria-label", words) in page.attributes and ("svg", "role", "img") in page.attributes
    assert page.tags[:3] == ["svg", "title", "desc"] and page.texts[:2] == ["look", words]
    assert "To compare with: 0.2." in Page(chart(CURVES[0])).text


def points(curve: Curve) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    (path,) = re.findall(r'<path d="M([^"]*)" class="curve"', chart(curve))
    return np.array([[float(n) for n in point.split()] for point in path.split("L")])


def test_a_curve_lies_where_its_values_are() -> None:
    """Right of one another in even steps, and as high as they are large."""
    drawn = points(CURVES[0])
    heights = HEIGHT * (0.9 - np.array(CURVES[0].values)) / 0.9
    assert np.ptp(np.diff(drawn[:, 0])) < 0.02 and (np.diff(drawn[:, 0]) > 0).all()
    assert drawn[:, 1] - drawn[0, 1] == pytest.approx(heights, abs=0.02)


def test_a_long_curve_is_drawn_by_the_means_of_its_stretches() -> None:
    values = np.sin(np.arange(5000) / 300) + 2
    drawn = points(Curve("long", tuple(values)))
    assert len(drawn) == MOST_DRAWN
    assert np.ptp(drawn[:, 1]) == pytest.approx(HEIGHT * np.ptp(values) / values.max(), rel=0.01)


@pytest.mark.parametrize("values", [(), (math.nan, math.inf)])
def test_a_curve_of_nothing_is_no_curve(values: tuple[float, ...]) -> None:
    assert drawable(Curve("none", values)) is None
    page = Page(render_report(replace(facts(KINDS[1]), curves=(Curve("none", values),))))
    assert "How the training went" not in page.text


@pytest.mark.parametrize(
    "curve", [Curve("one", (3.0,), 2.0), Curve("flat", (0.0, 0.0)), Curve("gap", (1.0, math.nan), math.inf)]
)
def test_odd_curves_are_drawn_too(curve: Curve) -> None:
    shown = drawable(curve)
    assert shown is not None
    assert "nan" not in chart(shown) and "inf" not in chart(shown)


def test_heavy_noise_is_admitted() -> None:
    base = facts(KINDS[0])
    drowned = replace(base, measured=measure(base.study, base.synthetic, 80.0))
    assert "says nothing there" in Page(render_report(drowned)).text


# On a telephone


def test_no_difference_is_more_than_all_rows() -> None:
    """Noise of a hundred times the rows: a distance of noised shares would be many times 100 %."""
    whole = facts(KINDS[0])
    noisy = replace(whole, measured=measure(whole.study, codes(whole.study.schema.sizes), sigma=60_000.0))
    evidence = noisy.evidence
    for pair in ((0, 1), (4, 6)):
        found = compared(evidence, pair)
        assert found.difference == 1.0 and found.noise == 1.0 and found.beyond == 0.0
    shown = re.findall(
        r"([\d,.]+)\s*%", Page(render_report(noisy)).text.split("Pairs of columns")[-1].split("The cell named")[0]
    )
    assert shown and all(float(n) <= 100 for n in shown)


def test_numbers_of_wide_tables_stand_below_one_another_on_a_narrow_screen(rendered: str) -> None:
    """A row becomes a block; every number says itself what it is, and no wide table stands outside of what scrolls."""
    style = rendered.partition("<style>")[2].partition("</style>")[0]
    narrow = style.partition("@media (max-width: 560px) {")[2]
    assert 'content: attr(data-label) ": "' in narrow and "table.broad { display: block; min-width: 0; }" in narrow
    tables = re.findall(r'<table class="broad".*?</table>', rendered, re.DOTALL)
    assert len(tables) >= 3
    for table in tables:
        body = table.partition("<tbody>")[2]
        assert body.count("<td") == body.count("data-label=") > 0
        headings = re.findall(r"<th scope=\"col\"[^>]*>([^<]*)", table)
        assert set(re.findall(r'data-label="([^"]*)"', body)) == set(headings[1:])
    assert rendered.count('<table class="broad"') == len(
        re.findall(r'<div class="scroll"[^>]*>\s*<table class="broad"', rendered)
    )


def test_a_map_that_is_wider_than_the_screen_says_that_it_scrolls(rendered: str) -> None:
    hints = re.findall(
        r'<p class="hint">[^<]*swipe it sideways[^<]*</p>\s*<div class="scroll"[^>]*aria-label="Map of', rendered
    )
    assert (
        len(hints)
        == rendered.count('aria-label="Map of pairs"') + rendered.count('aria-label="Map of associations"')
        == 1
    )


@pytest.mark.parametrize("count", [30, 60])
def test_squares_of_a_map_have_their_numbers_however_narrow_the_screen_is(count: int) -> None:
    columns = tuple(Boolean(name=f"c{k}") for k in range(count))
    page = render_report(new_facts(Sweep(), columns))
    assert page.count('class="heat"') == count * (count - 1)
    assert len(re.findall(r'class="value mid', page)) == count * (count - 1)


def test_headings_are_plain_words(rendered: str) -> None:
    text = Page(rendered).text
    assert "second way" not in text and "finds at most, in 100" not in text
    assert "of 100 who took part, found at most" in text and "epsilon, by another method" in text


def test_what_is_carried_is_on_the_first_screen() -> None:
    whole = facts(KINDS[0])
    kept = carried(whole.study.schema, whole.study.target_indices, whole.evidence)
    page = Page(render_report(replace(whole, carried=kept)))
    first = page.text.partition("What this table is")[0]
    assert kept.words in first and all(" ".join(c.words.split()) in first for c in kept.classes)
    held = sum(p.carried is True for p in kept.pairs)
    assert f"{held} of {len(kept.pairs)}" in first
    assert ("✗ does not carry" in first) == any(c.carried is False for c in kept.classes)


@pytest.mark.parametrize("number", range(4))
def test_the_budget_says_what_was_asked_with_the_weights_that_the_run_chose(number: int) -> None:
    """As the measured tables' noise shows; what is charged stays that of the dearest choice."""
    columns = tuple(Continuous(name=n, lower=0, upper=500) for n in "abcd")
    agreed = study(Sweep(), (*columns, Boolean(name="y", target=True)))
    phase = plan(agreed).phases[-1]
    assert isinstance(phase.query, Marginals)
    chosen = phase.query.each_choice[number]
    measured = [Measured(t, np.zeros(1), 1.4 * sigma) for t, _, sigma in chosen.noises(phase.multiplier)]
    shown, unknown = phase_view(agreed, phase, measured), phase_view(agreed, phase)
    assert shown.asked.count("table") == len({len(t) for t in chosen.asked})
    assert (shown.events, shown.numbers, shown.sent) == (unknown.events, unknown.numbers, unknown.sent)
    triples = max(len(t) for t in chosen.asked)
    assert (triples == 3) == ("(tables of 3 columns)" in shown.noise) == (number < 3)
    assert " to " in unknown.noise and shown.noise != unknown.noise
