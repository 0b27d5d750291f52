"""The options with which ``init`` and ``join`` make an institution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.commands.reading import SEVERAL, TABLE
from cohortium.system.output import print_status

if TYPE_CHECKING:
    from cohortium_client.custodian.institution import Institution

Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data", metavar="FILE", help=f"{TABLE} {SEVERAL} The first one without is of persons, or persons=FILE."
    ),
]
Url = Annotated[str | None, typer.Option("--url", help="Or a database, without a password.")]
Query = Annotated[str | None, typer.Option("--query", help="The one SELECT that is read from it.")]
PasswordFile = Annotated[
    str | None, typer.Option("--password-file", help="The file of its password: one line, mode 0600.")
]
PopulationName = Annotated[
    str | None, typer.Option("--population", help="Whose privacy is spent; by default the institution's name.")
]
Cap = Annotated[float, typer.Option("--cap", help="The most epsilon these people may ever spend.")]
Delta = Annotated[float, typer.Option("--delta", help="The delta at which the cap is stated.")]
CAP, DELTA = 10.0, 1e-6


def found(
    folder: Path,
    name: str,
    data: Sequence[str] | None,
    url: str | None,
    query: str | None,
    population: str | None,
    cap: float,
    delta: float,
    separator: str | None = None,
    sheet: str | None = None,
    password_file: str | None = None,
) -> Institution:
    """Make the institution's folder; raises as ``init_institution`` and ``read_password`` do."""
    from cohortium_client.custodian.institution import init_institution

    if password_file is not None:
        from cohortium_client.source.database import read_password

        read_password(Path(password_file))
        password_file = str(Path(password_file).absolute())
    persons, tables = _files(data or ())
    form = {"separator": separator, "sheet": sheet}
    source = _section(persons, {"url": url, "query": query, **form, "password_file": password_file})
    if tables:
        source = source if persons or url else {}
        source["tables"] = {name: _section(path, form) for name, path in tables.items()}
    policy = {"epsilon_per_population": cap, "delta": delta, "minimum_institutions": 1, "require_approval": False}
    return init_institution(folder, name, source, population or name, policy)


def _files(data: Sequence[str]) -> tuple[Path | None, dict[str, Path]]:
    """The persons' file, and those of events by name; a single one that has no name written before it is the persons', whatever it is called."""
    from cohortium.commands.files import named, with_persons

    if len(data) == 1 and not named(data[0])[0]:
        return Path(data[0]), {}
    return with_persons(data)


def _section(path: Path | None, more: Mapping[str, str | None]) -> dict[str, Any]:
    where = {"path": None if path is None else str(path.absolute()), **more}
    return {k: v for k, v in where.items() if v is not None}


def tell_of_tables(institution: Institution) -> None:
    """Say which file was taken for what, where there are several."""
    source = institution.file.source
    if source.tables:
        persons = source.path or "none"
        lines = [f"{name}: {table.path}" for name, table in source.tables.items()]
        print_status(f"The table of persons: {persons}. Tables of events: {'; '.join(lines)}.")


def warn_of_length(institution: Institution) -> None:
    """Warn of a socket path that is too long: the folder can be made, but serving it would fail."""
    from cohortium.errors import FederationError
    from cohortium_client.socket.gate import require_short

    try:
        require_short(institution.socket.absolute())
    except FederationError as error:
        print_status(f"serve will refuse this: {error}")
