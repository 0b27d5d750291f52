"""Studies: what is refused, what a digest covers, and what show states."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any, get_args

import pytest
from study_document import document

from cohortium.data.binning import ordered_cells
from cohortium.data.columns import MAX_CELLS, Categorical, Column, Continuous
from cohortium.data.schema import Schema, schema_from_document
from cohortium.errors import CohortiumError, SchemaError, StudyError
from cohortium.federation.forecast import expected_sigma, forecast
from cohortium.queries.gradients import GradientSum
from cohortium.queries.histograms import NestedHistograms
from cohortium.queries.local_training import LocalTraining
from cohortium.queries.marginals import Marginals
from cohortium.study.generators import Autoregressive, Ctgan, Diffusion, GeneratorPlan, Histories, Pgm, Sweep, Tvae
from cohortium.study.guarantee import ADVERSARIES
from cohortium.study.plan import architecture, pair_query, plan, ring
from cohortium.study.study import (
    Institution,
    Privacy,
    ReleasePlan,
    Study,
    dumps_schema,
    dumps_study,
    load_study,
    study_from_document,
    study_to_document,
)
from cohortium.study.workload import chosen_mix

_CLASS = Categorical(name="y", categories=("a", "b"), target=True)


def _number(name: str) -> Continuous:
    """Of more cells than pairs see."""
    return Continuous(name=name, lower=0, upper=1000, decimals=1)


def _of_one(columns: tuple[Column, ...], generator: GeneratorPlan = Sweep()) -> Study:  # noqa: B008 - a frozen value
    return Study(
        name="s",
        schema=Schema(columns=columns),
        privacy=Privacy(epsilon=1.0, delta=1e-6),
        generator=generator,
        institutions=(Institution(name="a"),),
    )


@pytest.mark.parametrize(
    "privacy",
    [
        {"epsilon": 0}, {"epsilon": -1}, {"epsilon": float("nan")}, {"epsilon": float("inf")}, {"epsilon": "8"},
        {"delta": 0}, {"delta": 1}, {"delta": 0.5}, {"delta": float("nan")}, {"delta": 1e-5, "population": 1_000_000},
        {"rows_per_person": 0}, {"trust": "none"},
    ],
)  # fmt: skip
def test_bad_input_24_privacy_parameters(schema: Schema, privacy: dict[str, Any]) -> None:
    with pytest.raises(StudyError) as caught:
        study_from_document(document(**privacy), schema)
    assert caught.value.code == "E_PLAN_PRIVACY"


def test_bad_input_24_absent_epsilon(schema: Schema) -> None:
    broken = document()
    del broken["privacy"]["epsilon"]
    with pytest.raises(StudyError) as caught:
        study_from_document(broken, schema)
    assert caught.value.code == "E_PLAN_PRIVACY"


@pytest.mark.parametrize(
    "generator",
    [
        {"sampling_rate": 0.0}, {"sampling_rate": -0.1}, {"sampling_rate": 1.0001}, {"sampling_rate": float("nan")},
        {"sampling_rate": "0.1"}, {"clip": 0.0}, {"clip": -1.0}, {"clip": float("inf")}, {"clip": float("nan")},
        {"rounds": 0}, {"rounds": 5001}, {"rounds": 2.5}, {"steps": 0}, {"steps": 10_001}, {"steps": True},
    ],
)  # fmt: skip
def test_bad_input_25_parameters_that_noise_is_computed_from(schema: Schema, generator: dict[str, Any]) -> None:
    with pytest.raises(StudyError) as caught:
        study_from_document({**document(), "generator": {"kind": "autoregressive", **generator}}, schema)
    assert caught.value.code == "E_PLAN_PRIVACY"
    assert caught.value.where.endswith(next(iter(generator)))


@pytest.mark.parametrize("clip", [1e-9, 1e9])
def test_bad_input_25_a_clip_beyond_all_use_has_no_plan(training_study: Study, clip: float) -> None:
    with pytest.raises(StudyError) as caught:
        plan(replace(training_study, generator=Autoregressive(rounds=2, clip=clip)))
    assert caught.value.code == "E_PLAN_PRIVACY"


def test_a_study_that_names_no_edition_stays_of_the_first(schema: Schema) -> None:
    """Whoever reads it, and whenever: its digest and what it asks were signed before there were two."""
    first = study_from_document(document(), schema)
    again = study_from_document(study_to_document(first), schema)
    assert first.edition == again.edition == 1
    assert "edition" not in dumps_study(first) and again.digest == first.digest
    second = replace(first, edition=2)
    assert second.digest != first.digest
    assert study_from_document(study_to_document(second), schema) == second
    made = Study(name="s", schema=schema, privacy=first.privacy, generator=Sweep(), institutions=first.institutions)
    assert made.edition == 2


@pytest.mark.parametrize("edition", [0, 3, 1.0, "2", True, None])
def test_an_edition_that_there_is_not_is_refused(schema: Schema, edition: Any) -> None:
    with pytest.raises(StudyError) as caught:
        study_from_document(document() | {"study": {**document().get("study", {}), "edition": edition}}, schema)
    assert "edition" in caught.value.where


@pytest.mark.parametrize(("edition", "kind"), [(1, "marginals"), (2, "histograms")])
def test_an_edition_decides_how_single_columns_are_counted(edition: int, kind: str) -> None:
    """And whether there are weights to choose; either way the whole plan stays within its epsilon."""
    made = replace(_of_one((_number("x"), _CLASS)), edition=edition)
    first, second = plan(made).phases
    assert (first.query.kind, second.query.kind) == (kind, "marginals")
    assert isinstance(second.query, Marginals) and bool(second.query.choices) == (edition == 2)
    assert plan(made).cost.epsilon <= 1.0


def test_with_fewer_rows_the_targets_tables_weigh_more() -> None:
    """The choice follows the rows and the noise, step by step from the first to the last."""
    columns = [_number(f"x{j}") for j in range(9)]
    target = _CLASS
    made = _of_one((*columns, target))
    query = pair_query(made)
    chosen = [chosen_mix(query, 4.0, rows) for rows in (1, 100, 3_000, 9_000, 30_000, 100_000, 10**7)]
    assert chosen == sorted(chosen, reverse=True)
    assert (chosen[0], chosen[-1]) == (len(query.choices) - 1, 0) and set(chosen) == set(range(len(query.choices)))
    assert chosen_mix(query, 4.0, 9_000) == chosen_mix(query, 8.0, 18_000)
    aimed = [sum(w for t, w in zip(query.tables, mix, strict=True) if len(t) == 2 and 9 in t) for mix in query.choices]
    assert aimed[0] < aimed[1] < aimed[2] <= aimed[3]
    assert [round(sum(mix), 9) for mix in query.choices] == [1.0] * 4


@pytest.mark.parametrize("generator", [Sweep(), Pgm()], ids=["sweep", "pgm"])
def test_a_table_of_one_column_has_no_weights_to_choose(generator: GeneratorPlan) -> None:
    only = _number("x")
    made = _of_one((only,), generator)
    _, pairs = plan(made).phases
    assert isinstance(pairs.query, Marginals) and pairs.query.choices == () and chosen_mix(pairs.query, 4.0, 100) == 0
    assert len(forecast(made)["phases"]) == 2


def test_what_is_forecast_costs_what_is_charged() -> None:
    """Whatever weights are likely: they are chosen in the run, and what is charged is the dearest choice."""
    columns = [_number(f"x{j}") for j in range(4)]
    made = _of_one((*columns, _CLASS))
    for rows in (50, 10**6):
        shown = forecast(made, rows)["phases"]
        for phase, reported in zip(plan(made).phases, shown, strict=True):
            assert reported["events"] == [asdict(e) for e in phase.events]
        assert shown[-1]["query"]["choices"] == 4 and " to " in shown[-1]["noise_words"]


def test_a_count_at_several_resolutions_is_forecast_at_its_finest() -> None:
    made = _of_one((_number("x"),))
    first = plan(made).phases[0]
    alone = replace(plan(made), phases=(first,))
    assert isinstance(first.query, NestedHistograms) and len(first.query.levels) == 3
    assert expected_sigma(made, alone, 1) == pytest.approx(first.query.sigmas(first.multiplier)[-1])


def test_many_tables_are_planned_by_a_few_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum over all weights for each table would take minutes for 200 columns."""
    summed = [0]
    original = math.fsum

    def counting(values: Iterable[float]) -> float:
        found = list(values)
        summed[0] += len(found)
        return original(found)

    columns = [_number(f"x{j}") for j in range(30)]
    made = _of_one((*columns, _CLASS))
    monkeypatch.setattr(math, "fsum", counting)
    query = pair_query(made)
    [choice.noises(4.0) for choice in query.each_choice]
    assert 0 < summed[0] < 100 * len(query.tables)


def test_trained_generators_count_single_columns_as_ever(training_study: Study) -> None:
    assert [plan(replace(training_study, edition=e)).phases[0].query.kind for e in (1, 2)] == ["marginals"] * 2


@pytest.mark.parametrize("word", ["sigma", "noise_multiplier", "seed", "noise"])
def test_bad_input_25_noise_is_typed_by_nobody(schema: Schema, word: str) -> None:
    """There is no word for it anywhere: it follows from epsilon."""
    for section in ("privacy", "generator", "release", "study"):
        broken = document()
        broken[section] = {**broken.get(section, {}), word: 0.0}
        with pytest.raises(StudyError) as caught:
            study_from_document(broken, schema)
        assert word in caught.value.where


def test_bad_input_27_no_study_can_ask_for_more_than_tables_of_three_columns(study: Study) -> None:
    assert max(len(t) for t in pair_query(study).tables) == 3
    ten = tuple(range(10))
    with pytest.raises(StudyError) as caught:
        Marginals((16,) * 10, (ten,), (1.0,))
    assert caught.value.code == "E_PLAN_LIMIT"


def test_bad_input_27_more_cells_than_can_be_answered(study: Study) -> None:
    wide = tuple(Categorical(name=f"c{k}", categories=tuple(map(str, range(3000)))) for k in range(4))
    with pytest.raises(StudyError) as caught:
        plan(replace(study, schema=Schema(columns=wide), generator=Sweep(bins=MAX_CELLS)))
    assert caught.value.code == "E_PLAN_LIMIT"


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"study": 3}, "study"), ({"study": [1]}, "study"), ({"study": {}}, "name"),
        ({"study": {"name": "s", "expires": "soon"}}, "expires"), ({"study": {"name": "s", "expires": 5}}, "expires"),
        ({"study": {"name": "s", "serial": 0}}, "serial"), ({"study": {"name": "s", "serial": "1"}}, "serial"),
        ({"study": {"name": "../s"}}, "name"), ({"study": {"name": "s\n"}}, "name"),
        ({"institution": {}}, "institutions"), ({"institution": []}, "institutions"), ({"privacy": 3}, "privacy"),
        ({"institution": [{"name": "a", "key": "ed25519:" + "A" * 64}]}, "key"),
        ({"institution": [{"name": "a", "key": "ed25519:" + "0" * 63}]}, "key"),
        ({"institution": [{"name": "a", "key": "rsa:" + "0" * 64}]}, "key"),
        ({"gossip": {}}, "gossip"),
    ],
)  # fmt: skip
def test_a_malformed_study_is_refused_by_its_place(schema: Schema, tmp_path: Path, wrong: Any, place: str) -> None:
    import tomli_w

    with pytest.raises(StudyError) as caught:
        study_from_document({**document(), **wrong}, schema)
    assert place in caught.value.where
    (tmp_path / "schema.toml").write_text(dumps_schema(schema))
    (tmp_path / "study.toml").write_text(tomli_w.dumps({**document(), **wrong}))
    with pytest.raises(StudyError) as caught:
        load_study(tmp_path / "study.toml")
    assert caught.value.where.startswith("study.toml, ") and place in caught.value.where


def test_an_expiry_is_a_date_however_it_is_written(schema: Schema, tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(dumps_schema(schema))
    read = []
    for written in ("2030-06-30", '"2030-06-30"'):
        text = dumps_study(study_from_document(document(), schema)).replace("[study]", f"[study]\nexpires = {written}")
        (tmp_path / "study.toml").write_text(text)
        read.append(load_study(tmp_path / "study.toml"))
    assert read[0] == read[1]
    assert read[0].expires == date(2030, 6, 30)
    assert read[0].digest == read[1].digest


def test_two_institutions_of_one_key_are_refused(schema: Schema) -> None:
    """One could sign, and answer, for two."""
    key = "ed25519:" + "0" * 64
    with pytest.raises(StudyError, match="same key"):
        study_from_document(
            {**document(), "institution": [{"name": "a", "key": key}, {"name": "b", "key": key}]}, schema
        )


def test_bad_input_21_rows_per_person_need_a_person(schema: Schema) -> None:
    with pytest.raises(StudyError) as caught:
        study_from_document(document(rows_per_person=3), replace(schema, person=None))
    assert caught.value.code == "E_PRIVACY_UNIT"


@pytest.mark.parametrize(
    "change", [{"kind": "sweep", "oops": 1}, {"kind": "nothing"}, {"kind": "sweep", "components": 2}]
)
def test_unknown_or_impossible_generators_are_refused(schema: Schema, change: dict[str, Any]) -> None:
    with pytest.raises(StudyError) as caught:
        study_from_document({**document(), "generator": change}, schema)
    assert caught.value.code == "E_PLAN_INVALID"


def test_a_target_must_be_a_column(schema: Schema) -> None:
    with pytest.raises(SchemaError, match="nowhere"):
        study_from_document({**document(), "generator": {"kind": "sweep", "targets": ["nowhere"]}}, schema)


def test_bad_input_46_rows_are_the_plans_and_limited(schema: Schema) -> None:
    for rows in (0, -1, 10**9):
        with pytest.raises(StudyError):
            study_from_document({**document(), "release": {"rows": rows}}, schema)


def test_two_institutions_of_one_name_are_refused(schema: Schema) -> None:
    with pytest.raises(StudyError, match="same name"):
        study_from_document({**document(), "institution": [{"name": "a"}, {"name": "a"}]}, schema)


def test_files_come_back_as_they_were(study: Study, training_study: Study, tmp_path: Path) -> None:
    for one in (study, training_study, replace(study, release=ReleasePlan(rows=100))):
        (tmp_path / "study.toml").write_text(dumps_study(one))
        (tmp_path / "schema.toml").write_text(dumps_schema(one.schema))
        again = load_study(tmp_path / "study.toml")
        assert again == one
        assert again.digest == one.digest


def test_the_digest_covers_everything(study: Study, schema: Schema) -> None:
    other = replace(schema, columns=tuple(replace(c, target=c.name == "ward") for c in schema.columns))
    changed = [
        replace(study, name="other"),
        replace(study, schema=other),
        replace(study, serial=2),
        replace(study, purpose="other"),
        replace(study, expires=date(2030, 1, 1)),
        replace(
            study, institutions=(replace(study.institutions[0], key="ed25519:" + "0" * 64), *study.institutions[1:])
        ),
        replace(study, privacy=replace(study.privacy, epsilon=4.0)),
        replace(study, institutions=study.institutions[:2]),
        replace(study, generator=Autoregressive()),
        replace(study, release=ReleasePlan(rows=10)),
    ]
    assert len({s.digest for s in [study, *changed]}) == len(changed) + 1


@pytest.mark.parametrize("epsilon", [0.05, 0.3, 1.0, 3.0, 10.0, 40.0])
def test_a_plan_never_costs_more_than_its_epsilon_nor_wastes_it(
    training_study: Study, study: Study, epsilon: float
) -> None:
    for one in (study, training_study):
        agreed = plan(replace(one, privacy=replace(one.privacy, epsilon=epsilon)))
        assert 0.97 * epsilon <= agreed.cost.epsilon <= epsilon


KINDS: tuple[GeneratorPlan, ...] = (
    Sweep(components=10),
    Pgm(method="mst"),
    Histories(components=10),
    Autoregressive(rounds=2),
    Diffusion(rounds=2),
    Tvae(rounds=2),
    Ctgan(rounds=2),
)
BY_KIND = pytest.mark.parametrize("chosen", KINDS, ids=lambda chosen: chosen.kind)


def test_every_generator_is_tried() -> None:
    assert {type(k) for k in KINDS} == set(get_args(get_args(GeneratorPlan)[0]))


@BY_KIND
@pytest.mark.parametrize("trust", ["local", "secure-sum"])
def test_every_generator_has_a_plan_in_either_trust_mode(study: Study, chosen: GeneratorPlan, trust: Any) -> None:
    one = replace(study, generator=chosen, privacy=replace(study.privacy, trust=trust))
    agreed = plan(one)
    assert 0.97 * study.privacy.epsilon <= agreed.cost.epsilon <= study.privacy.epsilon
    assert {p.honest for p in agreed.phases} == {3 if trust == "secure-sum" else 1}
    if trust == "secure-sum":
        assert all(p.query.shares_noise for p in agreed.phases)
        assert agreed.phases[0].multiplier < plan(replace(one, privacy=study.privacy)).phases[0].multiplier
        for phase in agreed.phases:
            assert ring(one, phase).bits in (32, 64)


@BY_KIND
def test_every_generator_comes_back_from_its_file(study: Study, chosen: GeneratorPlan, tmp_path: Path) -> None:
    one = replace(study, generator=chosen)
    (tmp_path / "study.toml").write_text(dumps_study(one))
    (tmp_path / "schema.toml").write_text(dumps_schema(one.schema))
    assert load_study(tmp_path / "study.toml") == one


def test_steps_between_rounds_belong_to_local_trust(study: Study) -> None:
    masked = replace(study.privacy, trust="secure-sum")
    for kind in (Autoregressive, Diffusion, Tvae, Ctgan):
        with pytest.raises(StudyError) as caught:
            replace(study, privacy=masked, generator=kind(steps=2))
        assert caught.value.code == "E_PLAN_INVALID" and caught.value.where == "generator.steps"
        (*_, training) = plan(replace(study, generator=kind(rounds=2, steps=3, sampling_rate=1.0))).phases
        assert isinstance(training.query, LocalTraining) and training.query.steps == 3
        (*_, training) = plan(replace(study, generator=kind(rounds=2, steps=1, sampling_rate=1.0))).phases
        assert isinstance(training.query, GradientSum)


def test_a_study_that_says_steps_is_not_masked_unless_it_asks(schema: Schema) -> None:
    three = {"institution": [{"name": n} for n in "abc"]}
    for generator, trust in (({}, "secure-sum"), ({"steps": 5}, "local"), ({"rounds": 3}, "secure-sum")):
        reported = {**document(), **three, "generator": {"kind": "autoregressive", **generator}}
        assert study_from_document(reported, schema).privacy.trust == trust


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("autoregressive", {"latent": 3}), ("autoregressive", {"views": 2}), ("diffusion", {"latent": 3}),
        ("tvae", {"views": 2}), ("ctgan", {"views": 2}), ("sweep", {"rounds": 3}), ("sweep", {"hidden": 3}),
        ("tvae", {"latent": 0}), ("tvae", {"latent": 257}), ("diffusion", {"views": 0}), ("diffusion", {"views": 17}),
        ("tvae", {"hidden": -1}), ("tvae", {"hidden": 1025}), ("tvae", {"bins": 1}), ("tvae", {"bins": 257}),
        ("tvae", {"warm_start": -0.1}), ("tvae", {"warm_start": 0.91}), ("tvae", {"warm_start": float("nan")}),
    ],
)  # fmt: skip
def test_what_a_generator_has_not_is_refused(schema: Schema, kind: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(StudyError) as caught:
        study_from_document({**document(), "generator": {"kind": kind, **wrong}}, schema)
    assert next(iter(wrong)) in caught.value.where or kind == "sweep"


def test_a_warm_start_is_a_round_of_pairs_within_the_same_budget(study: Study) -> None:
    cold, warm = (plan(replace(study, generator=Autoregressive(rounds=2, warm_start=w))) for w in (0.0, 0.3))
    assert [p.name for p in cold.phases] == ["columns", "training"]
    assert [p.name for p in warm.phases] == ["columns", "pairs", "training"]
    assert warm.cost.epsilon <= study.privacy.epsilon
    assert warm.phases[-1].multiplier > cold.phases[-1].multiplier


def test_cells_of_ordered_columns_are_merged_and_no_others(study: Study) -> None:
    seen = architecture(replace(study, generator=Autoregressive(bins=3)))
    for column, single, merged in zip(study.schema.columns, study.schema.sizes, seen.sizes, strict=True):
        assert merged == single - max(0, ordered_cells(column) - 3)
    assert seen.sizes != study.schema.sizes
    assert seen.order[-1] == study.target_indices[0]


def test_more_institutions_per_person_need_more_noise(study: Study) -> None:
    twice = replace(study, privacy=replace(study.privacy, institutions_per_person=2))
    assert plan(twice).phases[0].multiplier > 1.3 * plan(study).phases[0].multiplier
    assert plan(twice).cost.epsilon <= study.privacy.epsilon


def test_more_rows_per_person_need_more_noise(study: Study) -> None:
    def sigma(m: int) -> float:
        one = replace(study, privacy=replace(study.privacy, epsilon=1.0, rows_per_person=m))
        phase = plan(one).phases[0]
        return phase.query.sigmas(phase.multiplier)[0]  # type: ignore[attr-defined]

    assert sigma(3) == pytest.approx(3 * sigma(1), rel=0.01)


def test_pairs_and_crossed_triples_are_asked(study: Study) -> None:
    query = pair_query(replace(study, privacy=replace(study.privacy, epsilon=1.0)))
    columns, target = len(study.schema.columns), study.target_indices[0]
    assert sum(len(t) == 2 for t in query.tables) == columns * (columns - 1) // 2
    assert all(target in t for t in query.tables if len(t) == 3)


def test_a_schema_of_one_column_has_a_plan() -> None:
    schema = schema_from_document({"column": [{"name": "a", "kind": "boolean"}]})
    one = Study(
        name="s",
        schema=schema,
        privacy=Privacy(epsilon=1, delta=1e-6),
        generator=Autoregressive(rounds=2),
        institutions=(Institution(name="x"),),
    )
    assert plan(one).rounds == 3
    assert plan(replace(one, generator=study_from_document(document(), schema).generator)).rounds == 1


def test_show_states_what_leaves_and_what_it_buys(study: Study, training_study: Study) -> None:
    reported = forecast(study)
    (phase,) = reported["phases"]
    assert phase["numbers"] == plan(study).phases[0].query.width
    assert phase["bytes"] > 8 * phase["numbers"]
    assert reported["cost"]["epsilon"] <= reported["epsilon"]
    assert "two columns" in reported["buys"][1]
    assert [p["name"] for p in forecast(training_study)["phases"]] == ["columns", "training"]
    assert "learnt in training" in forecast(training_study)["buys"][1]


def test_expected_error_is_the_error_that_comes(study: Study) -> None:
    """A single column is the precision-weighted mean over all tables it is in: less noise than a pair's cell."""
    agreed = plan(study)
    one, two = (expected_sigma(study, agreed, k) for k in (1, 2))
    assert one is not None and two is not None
    pairs = agreed.phases[0].query.sigmas(agreed.phases[0].multiplier)[0]  # type: ignore[attr-defined]
    assert 0 < two <= 3**0.5 * pairs


def test_show_states_what_is_promised_against_whom(study: Study, training_study: Study) -> None:
    for one in (study, training_study):
        reported = forecast(one)["guarantees"]
        assert [g["adversary"] for g in reported] == list(ADVERSARIES)
        assert [g["epsilon"] for g in reported[1:]] == 3 * [plan(one).cost.epsilon]
        assert (
            reported[0]["epsilon"] < reported[1]["epsilon"] and reported[0]["attack_rate"] < reported[1]["attack_rate"]
        )
        assert "is right about at most" in reported[0]["words"]


def test_study_documents_have_no_empty_entries(study: Study) -> None:
    assert "release" not in study_to_document(study)


def test_errors_have_codes_and_a_next_step() -> None:
    with pytest.raises(KeyError):
        CohortiumError("E_UNHEARD_OF", "here", "what", "fix")
