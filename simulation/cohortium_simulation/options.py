"""The command-line options of ``cohortium simulate`` and ``cohortium demo``, one alias an option."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from cohortium.commands.reading import SEVERAL, TABLE

KINDS = ", ".join(sorted(e.name for e in entry_points(group="cohortium.generators")))

Data = Annotated[
    list[Path],
    typer.Option("--data", help=f"{TABLE} {SEVERAL}"),
]
Out = Annotated[Path, typer.Option("--out", help="The folder of the release.")]
SchemaFile = Annotated[Path | None, typer.Option("--schema", help="Its schema.toml: see cohortium schema draft.")]
StudyFile = Annotated[
    Path | None,
    typer.Option("--study", help="Or a study.toml, in place of --schema and of every option that the study sets."),
]
Epsilon = Annotated[float | None, typer.Option("--epsilon", help="The promise per person, over the whole study.")]
Delta = Annotated[float | None, typer.Option("--delta", help="Well below one over the number of persons.")]
NoPrivacy = Annotated[
    bool,
    typer.Option(
        "--no-privacy",
        help="In place of --epsilon and --delta: no noise and NO PROTECTION, to see how good a generator is. "
        "For research on public tables only.",
    ),
]
Institutions = Annotated[
    int | None, typer.Option("--institutions", min=1, help="Split the persons at random among this many institutions.")
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        help="Or split by a column. Its institutions are declared: by the schema's categories, --institution or --study.",
    ),
]
Declared = Annotated[
    list[str] | None,
    typer.Option(
        "--institution",
        metavar="NAME=VALUE,...",
        help="With --by: an institution and its values; repeat it. Rows with other values take part nowhere.",
    ),
]
Skew = Annotated[
    float | None,
    typer.Option(
        "--skew", help="With --institutions: parts uneven in the target, Dirichlet of this alpha (.5 is much)."
    ),
]
Trust = Annotated[
    str | None,
    typer.Option(
        "--trust",
        help="secure-sum: only the masked sum is seen; local: every message is private by itself. "
        "By default secure-sum where three or more can.",
    ),
]
DemoTrust = Annotated[str | None, typer.Option("--trust", help="secure-sum or local; by default what is best.")]
Dropouts = Annotated[
    int, typer.Option("--dropouts", min=0, help="D, under secure-sum: institutions that may be missing.")
]
Colluders = Annotated[
    int,
    typer.Option("--colluders", min=0, help="T, under secure-sum: institutions that may collude with the coordinator."),
]
GeneratorKind = Annotated[
    str | None,
    typer.Option(
        "--generator",
        help=f"One of {KINDS}; by default sweep, and histories where the schema has tables of events.",
    ),
]
DemoGenerator = Annotated[str, typer.Option("--generator", help=f"One of {KINDS}.")]
Targets = Annotated[list[str] | None, typer.Option("--target", help="A column to predict; repeat it for more.")]
Rounds = Annotated[
    int | None,
    typer.Option("--rounds", min=1, help="Rounds of training; this and the next three are not for sweep or pgm."),
]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, help="That an institution trains in a round before it answers.")
]
Hidden = Annotated[int | None, typer.Option("--hidden", min=0, help="Units of the network's hidden layers.")]
WarmStart = Annotated[
    float | None,
    typer.Option("--warm-start", min=0, max=0.9, help="Part of the budget for a sweep that training starts from."),
]
Rows = Annotated[
    int | None, typer.Option("--rows", min=1, help="Synthetic rows; by default the noised number of real ones.")
]
RowsPerPerson = Annotated[
    int, typer.Option("--rows-per-person", min=1, help="m: further rows of a person are left out at random.")
]
EqualWeight = Annotated[
    str, typer.Option("--equal-weight", help="rows, or persons: all rows of a person weigh one row together.")
]
InstitutionsPerPerson = Annotated[
    int, typer.Option("--institutions-per-person", min=1, help="g: in how many a person may be.")
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, help="Repeats the split, the start of the fit and the sample; never the noise."),
]
LedgerFolder = Annotated[
    Path | None,
    typer.Option("--ledger", help="Folder of the institutions' ledgers; by default $COHORTIUM_HOME/ledgers."),
]
Population = Annotated[
    str | None, typer.Option("--population", help="Whose privacy is spent; by default the schema's name.")
]
EpsilonCap = Annotated[
    float | None, typer.Option("--cap", help="Refuse what would bring the population's epsilon over this.")
]
Reviewed = Annotated[
    bool, typer.Option("--reviewed", help="Accept a draft as it is: you vouch that all in it is public knowledge.")
]
DropBadRows = Annotated[
    bool,
    typer.Option(
        "--drop-bad-rows",
        help="Leave out rows that cannot be read, and take such cells for missing, instead of stopping.",
    ),
]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the release that is in --out.")]
DemoEpsilon = Annotated[float, typer.Option("--epsilon", help="The promise per person.")]
DemoOut = Annotated[Path, typer.Option("--out", help="Where the release and the demo's own ledgers go.")]
DemoData = Annotated[
    str,
    typer.Option(
        "--data",
        help="clinics: public COVID-19 tests. hospital, bank: made-up persons with their stays or payments, linked tables.",
    ),
]
