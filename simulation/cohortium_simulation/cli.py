"""``cohortium simulate``: a federation of anybody's table on this machine. ``cohortium demo``: one on bundled data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cohortium.commands.device import print_device
from cohortium.commands.reading import Separator, Sheet, form_of
from cohortium.system.output import Json, console, guarded, print_json, print_result, print_status, progress
from cohortium.system.signals import leaving
from cohortium_simulation import options

if TYPE_CHECKING:
    from cohortium.study.study import Privacy, Study
    from cohortium_server.release import Release
    from cohortium_simulation.experiment import Ledgers
    from cohortium_simulation.holdings import Held

NOT_PRIVATE = "WARNING: no privacy. The release may reveal single persons' rows; guard it like the real table."


def simulate(
    ctx: typer.Context,
    data: options.Data,
    out: options.Out,
    schema: options.SchemaFile = None,
    study: options.StudyFile = None,
    epsilon: options.Epsilon = None,
    delta: options.Delta = None,
    no_privacy: options.NoPrivacy = False,
    institutions: options.Institutions = None,
    by: options.By = None,
    institution: options.Declared = None,
    skew: options.Skew = None,
    trust: options.Trust = None,
    dropouts: options.Dropouts = 0,
    colluders: options.Colluders = 0,
    generator: options.GeneratorKind = None,
    target: options.Targets = None,
    rounds: options.Rounds = None,
    steps: options.Steps = None,
    hidden: options.Hidden = None,
    warm_start: options.WarmStart = None,
    rows: options.Rows = None,
    rows_per_person: options.RowsPerPerson = 1,
    equal_weight: options.EqualWeight = "rows",
    institutions_per_person: options.InstitutionsPerPerson = 1,
    seed: options.Seed = None,
    ledger: options.LedgerFolder = None,
    population: options.Population = None,
    cap: options.EpsilonCap = None,
    reviewed: options.Reviewed = False,
    drop_bad_rows: options.DropBadRows = False,
    separator: Separator = None,
    sheet: Sheet = None,
    replace: options.Replace = False,
    as_json: Json = False,
) -> None:
    """Run a whole federation on one table, or on linked ones: split them, let institutions answer, release synthetic ones."""
    with guarded(as_json):
        from cohortium.commands.files import files_of
        from cohortium_server.release import require_no_release
        from cohortium_simulation import requested
        from cohortium_simulation.inputs import read_tables

        require_no_release(out, replace)
        split = requested.Split(institutions, by, institution or (), skew)
        if study is not None:
            requested.require_no_study_options(ctx)
            agreed, layout = requested.of_file(study, split, reviewed)
        else:
            privacy = requested.promise(epsilon, delta, no_privacy) | requested.trusting(trust, dropouts, colluders)
            privacy |= requested.counting(rows_per_person, institutions_per_person, equal_weight)
            trained = {"rounds": rounds, "steps": steps, "hidden": hidden, "warm_start": warm_start}
            public = requested.public_schema(schema, reviewed)
            model = requested.generator_section(generator, target or (), trained, public)
            agreed, layout = requested.of_options(public, split, privacy, model, rows)
        ledgers = _ledgers(ledger, population, cap, agreed.privacy)
        form = form_of(separator, sheet)
        tables = read_tables(files_of(data, agreed.schema), form, agreed.schema, layout, seed, drop_bad_rows)
        _run(agreed, tables, out, seed, ledgers, replace, as_json)


def _run(
    study: Study,
    tables: Mapping[str, Held],
    out: Path,
    seed: int | None,
    ledgers: Ledgers | None,
    replace: bool,
    as_json: bool,
) -> None:
    from cohortium_simulation.experiment import encode_all
    from cohortium_simulation.experiment import simulate as run
    from cohortium_simulation.inputs import report_counted

    if study.privacy.mode == "none":
        print_status(NOT_PRIVATE)
    codes = encode_all(study, tables)
    report_counted(codes, study)
    if not as_json:
        print_device([study])
    shown = progress(as_json)
    with leaving(_left(out, ledgers)):
        release = run(
            study, tables, out, seed=seed, ledgers=ledgers, progress=shown, learn=True, replace=replace, codes=codes
        )
    _report(release, as_json)


def _left(out: Path, ledgers: Ledgers | None) -> Callable[[], tuple[str, str]]:
    """What an interrupted simulation leaves, and the next step, for ``leaving``. ledgers: None where nothing is charged."""
    from cohortium_server.release.manifest import MANIFEST

    def manifest() -> bytes | None:
        path = out / MANIFEST
        return path.read_bytes() if path.is_file() else None

    before = manifest()

    def left() -> tuple[str, str]:
        if manifest() != before:
            return (
                f"the simulation had ended, and its release is complete in {out}",
                f"Check it: cohortium verify {out}",
            )
        charged = (
            "" if ledgers is None else "; answers that its institutions had given stay charged (cohortium ledger show)"
        )
        return (
            f"the simulation ended without a release{charged}",
            "Run it again: another simulation starts from the beginning",
        )

    return left


def _ledgers(folder: Path | None, population: str | None, cap: float | None, privacy: Privacy) -> Ledgers | None:
    """The ledgers to charge. Without privacy nothing is charged, and ``run`` refuses ledgers that were asked for all the same."""
    from cohortium.ledger.caps import Cap
    from cohortium.ledger.location import home
    from cohortium_simulation.experiment import Ledgers

    if privacy.mode == "none":
        unasked = folder is None and population is None and cap is None
        return None if unasked else Ledgers(folder or home(), population)
    return Ledgers(folder or home() / "ledgers", population, None if cap is None else Cap(cap, privacy.delta))


def _report(release: Release, as_json: bool) -> None:
    m = release.manifest
    if as_json:
        published = (
            "kind",
            "rows",
            "guarantee",
            "unit",
            "institutions",
            "generator",
            "study",
            "run",
            "trust",
            "masks",
            "privacy",
        )
        print_json({"release": str(release.path), **{k: m[k] for k in published if k in m}})
        return
    print_result(
        f"{m['rows']} synthetic rows in {release.path} from {len(m['institutions'])} simulated institutions by {m['generator']}."
    )
    if "masks" in m:
        print_result(m["masks"])
    if release.mark:
        print_status(f"WARNING: NOT PRIVATE. {m['warning']}")
        return
    print_result(
        f"Cost: epsilon {m['guarantee']['epsilon']:.4f} at delta {m['guarantee']['delta']:g} per person. Check it: cohortium verify {release.path}"
    )


def demo(
    data: options.DemoData = "clinics",
    generator: options.DemoGenerator = "sweep",
    epsilon: options.DemoEpsilon = 3.0,
    trust: options.DemoTrust = None,
    out: options.DemoOut = Path("cohortium-demo"),
    seed: options.Seed = None,
    as_json: Json = False,
) -> None:
    """Six clinics' COVID-19 tests, one synthetic table: a simulated federation on bundled, public data."""
    with guarded(as_json):
        from cohortium_simulation.demo import run_demo, run_made_up
        from cohortium_simulation.made_up import demo_named

        made = None if data == "clinics" else demo_named(data)
        if not as_json:
            print_status(
                "Six institutions of a children's hospital, COVID-19 tests of 2020 (public, de-identified; medicaldata, MIT)."
                if made is None
                else made.about
            )
        if made is None:
            result = run_demo(generator, epsilon, out, seed, progress(as_json), trust)
        else:
            result = run_made_up(made, epsilon, out, seed, progress(as_json), trust)
        if as_json:
            print_json(result)
        else:
            _show_demo(result)


def _show_demo(result: dict[str, Any]) -> None:
    from rich.table import Table

    spent = Table(title="What was spent, by whom (per person)")
    for heading in ("institution", "answers", "epsilon", "at delta"):
        spent.add_column(heading, justify="left" if heading == "institution" else "right")
    for account in result["spent"]:
        spent.add_row(
            account["institution"], str(account["answers"]), f"{account['epsilon']:.3f}", f"{account['delta']:g}"
        )
    spent.add_section()
    spent.add_row(
        f"a person in up to {result['institutions_per_person']}",
        "",
        f"{result['guarantee']['epsilon']:.3f}",
        f"{result['guarantee']['delta']:g}",
    )
    fidelity = Table(
        title="How close the release is to the real pooled table (mean total variation distance, 0 is equal)"
    )
    for heading in ("tables of", "release", "independent columns", "another real half"):
        fidelity.add_column(heading, justify="left" if heading == "tables of" else "right")
    for row in result["fidelity"]:
        fidelity.add_row(row["tables"], *(f"{row[k]:.3f}" for k in ("release", "independent", "real_half")))
    screen = console()
    screen.print(spent)
    screen.print(fidelity)
    print_result(
        "The comparison reads the real table. That is allowed here because the demo's data are public; a real study never does it."
    )
    print_result(
        f"{result['rows']} synthetic rows by {result['generator']}, {result['seconds']:.0f} s. Look at {result['report']}"
    )
    print_result(f"Check it: cohortium verify {result['release']}")
