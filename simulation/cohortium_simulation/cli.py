"""``cohortium simulate``: a federation of anybody's table on this machine. ``cohortium demo``: one on bundled data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.commands.device import say_device
from cohortium.commands.reading import TABLE, Separator, Sheet, form_of, say_faults
from cohortium.data.readers.faults import Faults
from cohortium.system.output import Json, console, guarded, print_json, progress, say, say_here, tell
from cohortium.system.signals import leaving

if TYPE_CHECKING:
    from pandas import DataFrame

    from cohortium.data.encoding import Codes
    from cohortium.data.readers.forms import Form
    from cohortium.data.schema import Schema
    from cohortium.study.study import Study
    from cohortium_server.release import Release
    from cohortium_simulation.experiment import Ledgers
    from cohortium_simulation.layout import Layout

Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, help="Repeats the split, the start of the fit and the sample; never the noise."),
]
KINDS = ", ".join(sorted(e.name for e in entry_points(group="cohortium.generators")))


BESIDE_A_STUDY = frozenset(
    {
        "data",
        "out",
        "reviewed",
        "study",
        "by",
        "institution",
        "skew",
        "seed",
        "ledger",
        "population",
        "cap",
        "drop_bad_rows",
        "separator",
        "sheet",
        "as_json",
        "replace",
    }
)
"""The only options that a study file does not say."""


def simulate(
    ctx: typer.Context,
    data: Annotated[Path, typer.Option("--data", help=TABLE)],
    out: Annotated[Path, typer.Option("--out", help="The folder of the release.")],
    schema: Annotated[
        Path | None, typer.Option("--schema", help="Its schema.toml: see cohortium schema draft.")
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            "--study", help="Or a study.toml, in the place of --schema and of all options that say what it says."
        ),
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option("--epsilon", help="The promise per person, over the whole study.")
    ] = None,
    delta: Annotated[float | None, typer.Option("--delta", help="Well below one over the number of persons.")] = None,
    no_privacy: Annotated[
        bool,
        typer.Option(
            "--no-privacy",
            help="In the place of --epsilon and --delta: no noise and NO PROTECTION, to see how good a generator is. "
            "For research on public tables only.",
        ),
    ] = False,
    institutions: Annotated[
        int | None, typer.Option("--institutions", min=1, help="Deal the persons out to so many.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            help="Or split by a column. Its institutions are declared: by the schema's categories, --institution or --study.",
        ),
    ] = None,
    institution: Annotated[
        list[str] | None,
        typer.Option(
            "--institution",
            metavar="NAME=VALUE,...",
            help="With --by: an institution and its values; repeat it. Rows with other values take part nowhere.",
        ),
    ] = None,
    skew: Annotated[
        float | None,
        typer.Option(
            "--skew", help="With --institutions: parts uneven in the target, Dirichlet of this alpha (.5 is much)."
        ),
    ] = None,
    trust: Annotated[
        str | None,
        typer.Option(
            "--trust",
            help="secure-sum: only the masked sum is seen; local: every message is private by itself. "
            "By default secure-sum where three or more can.",
        ),
    ] = None,
    dropouts: Annotated[
        int, typer.Option("--dropouts", min=0, help="D, under secure-sum: so many may be missing.")
    ] = 0,
    colluders: Annotated[
        int, typer.Option("--colluders", min=0, help="T, under secure-sum: so many may side with the coordinator.")
    ] = 0,
    generator: Annotated[str, typer.Option("--generator", help=f"One of {KINDS}.")] = "sweep",
    target: Annotated[
        list[str] | None, typer.Option("--target", help="A column to predict; repeat it for more.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="Of training; like what follows not for sweep.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="That an institution trains in a round before it answers.")
    ] = None,
    hidden: Annotated[int | None, typer.Option("--hidden", min=0, help="Units of the network's hidden layers.")] = None,
    warm_start: Annotated[
        float | None,
        typer.Option("--warm-start", min=0, max=0.9, help="Part of the budget for a sweep that training starts from."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Synthetic rows; by default the noised number of real ones.")
    ] = None,
    rows_per_person: Annotated[
        int, typer.Option("--rows-per-person", min=1, help="m: further rows of a person are left out at random.")
    ] = 1,
    equal_weight: Annotated[
        str, typer.Option("--equal-weight", help="rows, or persons: all rows of a person weigh one row together.")
    ] = "rows",
    institutions_per_person: Annotated[
        int, typer.Option("--institutions-per-person", min=1, help="g: in how many a person may be.")
    ] = 1,
    seed: Seed = None,
    ledger: Annotated[
        Path | None,
        typer.Option("--ledger", help="Folder of the institutions' ledgers; by default $COHORTIUM_HOME/ledgers."),
    ] = None,
    population: Annotated[
        str | None, typer.Option("--population", help="Whose privacy is spent; by default the schema's name.")
    ] = None,
    cap: Annotated[
        float | None, typer.Option("--cap", help="Refuse what would bring the population's epsilon over this.")
    ] = None,
    reviewed: Annotated[
        bool, typer.Option("--reviewed", help="Take a draft as it is, as who knows that all in it is public.")
    ] = False,
    drop_bad_rows: Annotated[
        bool,
        typer.Option(
            "--drop-bad-rows",
            help="Leave out rows, and take cells for missing, that cannot be read, instead of stopping.",
        ),
    ] = False,
    separator: Separator = None,
    sheet: Sheet = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the release that is in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Run a whole federation on one table: split it, let institutions answer, release one synthetic table."""
    with guarded(as_json):
        from cohortium.study.study import load_study
        from cohortium_server.release import require_no_release
        from cohortium_simulation.experiment import as_study, encode_all
        from cohortium_simulation.experiment import simulate as run
        from cohortium_simulation.layout import laid_out

        require_no_release(out, replace)
        given = {name for name in ctx.params if _is_said(ctx, name)}
        if study is not None:
            _require_unsaid(given - BESIDE_A_STUDY)
            agreed = _reviewed_study(load_study(study), reviewed, study.name)
            layout = laid_out(agreed.schema, None, by, institution or (), skew, agreed.institution_names)
            promise = _promised(agreed)
        else:
            promise = _promise(epsilon, delta, no_privacy)
            public = _schema(schema, reviewed)
            layout = laid_out(public, institutions, by, institution or (), skew)
            privacy = {
                **promise,
                **_trusting(trust, dropouts, colluders),
                "rows_per_person": rows_per_person,
                "equal_weight": equal_weight,
                "institutions_per_person": institutions_per_person,
            }
            targets = [name for text in target or [] for name in text.split(",")]
            trained = {"rounds": rounds, "steps": steps, "hidden": hidden, "warm_start": warm_start}
            asked = {"kind": generator, "targets": targets, **{k: v for k, v in trained.items() if v is not None}}
            agreed = as_study(public, layout.names, privacy, asked, rows)
        ledgers = _ledgers(ledger, population, cap, promise)
        form = form_of(separator, sheet)
        tables = _tables(
            data, form, agreed.schema, layout, seed, drop_bad_rows
        )  # only now: nothing of a study follows from rows
        codes = encode_all(agreed, tables)
        _say_counted(codes, agreed)
        if not as_json:
            say_device([agreed])
        shown = progress(as_json)
        with leaving(_left(out, ledgers)):
            release = run(
                agreed,
                tables,
                out,
                seed=seed,
                ledgers=ledgers,
                progress=shown,
                learn=True,
                replace=replace,
                codes=codes,
            )
        _tell(release, as_json)


def _left(out: Path, ledgers: Ledgers | None) -> Callable[[], tuple[str, str]]:
    """What is there of a simulation that is interrupted, as ``leaving`` wants it. ledgers: None where nothing is charged."""
    from cohortium_server.release.manifest import MANIFEST

    def manifest() -> bytes | None:
        path = out / MANIFEST
        return path.read_bytes() if path.is_file() else None

    before = manifest()

    def left() -> tuple[str, str]:
        if manifest() != before:
            return f"the simulation had ended, and its release is whole in {out}", f"Look at it: cohortium verify {out}"
        charged = (
            "" if ledgers is None else ", and what its institutions had answered stays charged (cohortium ledger show)"
        )
        return (
            f"the simulation is over without a release{charged}",
            "Say it again: another simulation begins, from the start",
        )

    return left


def _is_said(ctx: typer.Context, option: str) -> bool:
    """Whether it stands on the command line."""
    source = ctx.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _require_unsaid(names: Iterable[str]) -> None:
    from cohortium.errors import StudyError

    if options := ", ".join(sorted(f"--{name.replace('_', '-')}" for name in names)):
        raise StudyError(
            "E_PLAN_INVALID", "--study", f"{options}: the study says it", "Leave it out, or edit the study."
        )


def _reviewed_study(study: Study, reviewed: bool, name: str) -> Study:
    from dataclasses import replace

    return replace(study, schema=_without_marks(study.schema, reviewed, name))


def _without_marks(schema: Schema, reviewed: bool, name: str) -> Schema:
    """The schema; SchemaError E_REVIEW where it is a draft that nobody says to be public."""
    if reviewed:
        schema = schema.reviewed()
    schema.require_reviewed(name)
    return schema


def _schema(path: Path | None, reviewed: bool) -> Schema:
    from cohortium.data.schema import load_schema
    from cohortium.errors import StudyError

    if path is None:
        raise StudyError("E_PLAN_INVALID", "simulate", "the table is not described", "Pass --schema, or --study.")
    return _without_marks(load_schema(path), reviewed, path.name)


def _tables(
    data: Path, form: Form, schema: Schema, layout: Layout, seed: int | None, drop_bad_rows: bool
) -> dict[str, DataFrame]:
    """A table for each institution. How many rows take part nowhere is said on the screen and goes nowhere else."""
    import numpy as np
    import pandas as pd

    from cohortium.data.readers.tables import read_parts

    faults = Faults(data.name, strict=not drop_bad_rows)
    table = pd.concat(read_parts(data, layout.columns(schema), form=form, faults=faults), ignore_index=True)
    say_faults(faults)
    _say_fitting(table, schema)
    tables = layout.split(table, schema, np.random.default_rng(seed))
    if left := len(table) - sum(map(len, tables.values())):
        say(
            f"{left} of {len(table)} rows take part nowhere: no institution was declared for what they have in {layout.by!r}"
        )
    if empty := [name for name, part in tables.items() if part.empty]:
        say(f"without rows, and answering all the same: {', '.join(empty)}")
    return tables


def _say_fitting(table: DataFrame, schema: Schema) -> None:
    """What of the table does not fit; SchemaError E_MISFIT, before anything is charged, where all of it does not."""
    from cohortium.drafting.checking import fit
    from cohortium.drafting.reasons import counted, in_lines
    from cohortium.errors import SchemaError

    found = fit([table], schema)
    if misfits := in_lines(found, schema):
        say_here(*misfits)
    if found.rows and found.none_fits:
        raise SchemaError(
            "E_MISFIT", "table", counted(found), "The lines above say what does not fit. Nothing was charged."
        )


def _say_counted(codes: Mapping[str, Codes], study: Study) -> None:
    """How many rows the study will count, and what would change it: on this screen, and nowhere else."""
    from functools import reduce
    from operator import add

    from cohortium.drafting.tally import tally_of, told

    tallies = [tally_of(one, study.schema) for one in codes.values()]
    for name, one in zip(codes, tallies, strict=True):
        if one.rows and not one.fitting:
            say_here(f"{name!r}: none of its {one.rows} rows fits the schema; it answers from none.")
    p = study.privacy
    if tallies and (lines := told(reduce(add, tallies), p.rows_per_person, p.equal_weight, "the study says")):
        say_here(*lines)


def _promised(study: Study) -> dict[str, Any]:
    """What a study file promises, as ``_promise`` tells it of options."""
    p = study.privacy
    return _promise(None, None, True) if p.mode == "none" else _promise(p.epsilon, p.delta, False)


def _promise(epsilon: float | None, delta: float | None, no_privacy: bool) -> dict[str, Any]:
    """What a study's privacy section begins with: a promise, or that there is none, and never both."""
    from cohortium.errors import StudyError

    said = {k: v for k, v in (("epsilon", epsilon), ("delta", delta)) if v is not None}
    if no_privacy and said:
        raise StudyError(
            "E_PLAN_PRIVACY", "--no-privacy", "it promises no epsilon and no delta", "Pass the one or the other."
        )
    if not no_privacy and len(said) < 2:
        raise StudyError("E_PLAN_PRIVACY", "simulate", "a promise is missing", "Pass --epsilon and --delta.")
    if no_privacy:
        say("WARNING: no privacy. What comes out may hold what single persons' rows say; guard it like the real table.")
    return {"mode": "none"} if no_privacy else dict(said)


def _ledgers(folder: Path | None, population: str | None, cap: float | None, promise: dict[str, Any]) -> Ledgers | None:
    """Where to charge; without privacy there is nothing to charge, and whoever names a ledger or a cap is told."""
    from cohortium.ledger.caps import Cap
    from cohortium.ledger.location import home
    from cohortium_simulation.experiment import Ledgers

    if "delta" not in promise:
        unsaid = folder is None and population is None and cap is None
        return None if unsaid else Ledgers(folder or home(), population)
    return Ledgers(folder or home() / "ledgers", population, None if cap is None else Cap(cap, promise["delta"]))


def _trusting(trust: str | None, dropouts: int, colluders: int) -> dict[str, Any]:
    """What was said of trust; a study fills in the rest."""
    said = {"trust": trust, "dropouts": dropouts or None, "colluders": colluders or None}
    return {k: v for k, v in said.items() if v is not None}


def _tell(release: Release, as_json: bool) -> None:
    m = release.manifest
    if as_json:
        told = (
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
        print_json({"release": str(release.path), **{k: m[k] for k in told if k in m}})
        return
    tell(
        f"{m['rows']} synthetic rows in {release.path} from {len(m['institutions'])} simulated institutions by {m['generator']}."
    )
    if "masks" in m:
        tell(m["masks"])
    if release.mark:
        say(f"WARNING: NOT PRIVATE. {m['warning']}")
        return
    tell(
        f"Cost: epsilon {m['guarantee']['epsilon']:.4f} at delta {m['guarantee']['delta']:g} per person. Check it: cohortium verify {release.path}"
    )


def demo(
    generator: Annotated[str, typer.Option("--generator", help=f"One of {KINDS}.")] = "sweep",
    epsilon: Annotated[float, typer.Option("--epsilon", help="The promise per person.")] = 3.0,
    trust: Annotated[str | None, typer.Option("--trust", help="secure-sum or local; by default what is best.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Where the release and the demo's own ledgers go.")] = Path(
        "cohortium-demo"
    ),
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Six clinics' COVID-19 tests, one synthetic table: a simulated federation on bundled, public data."""
    with guarded(as_json):
        from cohortium_simulation.demo import run_demo

        if not as_json:
            say(
                "Six institutions of a children's hospital, COVID-19 tests of 2020 (public, de-identified; medicaldata, MIT)."
            )
        result = run_demo(generator, epsilon, out, seed, progress(as_json), trust)
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
    tell(
        "The comparison reads the real table. That is allowed here because the demo's data are public; a real study never does it."
    )
    tell(
        f"{result['rows']} synthetic rows by {result['generator']}, {result['seconds']:.0f} s. Look at {result['report']}"
    )
    tell(f"Check it: cohortium verify {result['release']}")
