"""``cohortium.fit``: from a table to a release in one call, for notebooks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, Union

import numpy as np
import pandas as pd

from cohortium.data.readers.frames import Table, as_table, is_table
from cohortium.data.schema import Schema, load_schema
from cohortium.drafting.draft import Draft
from cohortium.errors import SchemaError
from cohortium.system.arguments import described, names, number, one_of, path, refused, whole
from cohortium.system.progress import Progress
from cohortium_server.generators import kinds
from cohortium_server.release import Release, require_no_release
from cohortium_simulation.experiment import Ledgers, as_study, as_tables, simulate
from cohortium_simulation.holdings import as_held, parts_of
from cohortium_simulation.layout import laid_out
from cohortium_simulation.requested import kind_for

Tables: TypeAlias = Union[Table, Mapping[str, Table]]  # noqa: UP007 - a protocol takes no |
SchemaLike: TypeAlias = Schema | Draft | str | os.PathLike[str]


def fit(
    tables: Tables,
    schema: SchemaLike | None = None,
    *,
    epsilon: float,
    delta: float = 1e-6,
    generator: str | None = None,
    targets: str | Iterable[str] = (),
    institutions: int = 1,
    by: str | None = None,
    trust: Literal["secure-sum", "local"] | None = None,
    rows: int | None = None,
    rows_per_person: int = 1,
    institutions_per_person: int = 1,
    out: str | os.PathLike[str] = "release",
    replace: bool = False,
    seed: int | None = None,
    ledgers: Ledgers | None = None,
    progress: Progress | None = None,
    **trained: Any,
) -> Release:
    """Fit a generator to ``tables`` with differential privacy, and release one synthetic table into the folder ``out``.

    Runs a simulated federation on this machine, as ``cohortium simulate`` does.

    tables: one table (any DataFrame, a path, or columns by name), split among ``institutions`` at random or ``by`` a column
    whose categories the schema declares; or a mapping of institutions to tables. Where the schema has tables of events, a table
    is a mapping of all of them, ``{"persons": table, "labs": another}``.
    schema: the table's public description: a ``Schema``, the path of a schema.toml, or a reviewed draft's schema.
    epsilon, delta: the promise per person, over everything; delta well below one over the number of persons.
    generator: its kind, by default ``sweep``, and ``histories`` where the schema has tables of events.
    trained: that kind's settings (rounds, steps, hidden, warm_start). rows: of the synthetic table, by
    default the noised number of real ones. rows_per_person: at most this many of a person's rows count. seed: repeats the
    split, the start of the fit and the sample, never the noise. ledgers: where the persons' spending is recorded.
    Raises SchemaError E_REVIEW for an unreviewed draft, ReleaseError E_RELEASE_EXISTS unless ``replace``, InputError
    E_ARGUMENT for an invalid argument.

    >>> import cohortium
    >>> visits = {"age": [30, 41, 56, 62] * 250, "result": ["positive", "negative"] * 500}
    >>> schema = cohortium.draft_schema(visits, targets="result").schema.reviewed()  # after a look at all of it
    >>> release = cohortium.fit(visits, schema, epsilon=3, out="fitted", seed=1)
    >>> release.kind, release.study.privacy.epsilon, sorted(release.synthetic.columns)
    ('simulation', 3.0, ['age', 'result'])
    >>> len(release.sample(20, {"result": "positive"}, seed=7))
    20
    >>> cohortium.fit(visits, schema, epsilon=3, out="fitted")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    cohortium.errors.ReleaseError: E_RELEASE_EXISTS: fitted: it holds a release already. Choose another folder, or add ...
    """
    require_no_release(path("out", out), replace)
    public = _schema(schema)
    asked = _generator(generator or kind_for(public), targets, trained)
    privacy = _privacy(epsilon, delta, rows_per_person, institutions_per_person, trust)
    drawn = None if seed is None else whole("seed", seed)
    released = None if rows is None else whole("rows", rows, 1)
    parts = _parts(tables, public, institutions, by, drawn)
    study = as_study(public, tuple(parts), privacy, asked, released)
    return simulate(study, parts, Path(out), seed=drawn, ledgers=ledgers, progress=progress, replace=replace)


def _privacy(
    epsilon: Any, delta: Any, rows_per_person: Any, institutions_per_person: Any, trust: Any
) -> dict[str, Any]:
    """The study's privacy section; InputError E_ARGUMENT for an invalid argument."""
    return {
        "epsilon": number("epsilon", epsilon),
        "delta": number("delta", delta),
        "rows_per_person": whole("rows_per_person", rows_per_person, 1),
        "institutions_per_person": whole("institutions_per_person", institutions_per_person, 1),
        **({} if trust is None else {"trust": one_of("trust", trust, ("secure-sum", "local"))}),
    }


def _schema(schema: SchemaLike | None) -> Schema:
    fix = "Propose one with cohortium.draft_schema(table), review it, and pass draft.schema.reviewed()."
    match schema:
        case None:
            raise SchemaError("E_REVIEW", "fit", "there is no schema, and none is read off rows by itself", fix)
        case Draft():
            return _reviewed(schema.schema)
        case Schema():
            return _reviewed(schema)
        case str() | os.PathLike():
            return _reviewed(load_schema(Path(schema)))
    raise refused("schema", f"it is {described(schema)}, not a schema", fix)


def _reviewed(schema: Schema) -> Schema:
    if schema.marks:
        what = f"it was read off rows, and nobody has reviewed all of it: {'; '.join(schema.marks[:3])}"
        raise SchemaError("E_REVIEW", "schema", what, "Look at all of it, then pass schema.reviewed().")
    return schema


def _generator(kind: str, targets: str | Iterable[str], trained: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": one_of("generator", kind, kinds()), "targets": list(names("targets", targets)), **trained}


def _parts(
    tables: Any, schema: Schema, institutions: int, by: str | None, seed: int | None
) -> Mapping[str, pd.DataFrame | Mapping[str, pd.DataFrame]]:
    """A table for each institution, or all of its tables."""
    if schema.tables and not (isinstance(tables, Mapping) and set(tables) - set(schema.parts)):
        layout = laid_out(schema, None if by is not None else whole("institutions", institutions, 1), by)
        held = parts_of(as_held(tables, "all", schema), "all", schema)
        return layout.split_linked(held, schema, np.random.default_rng(seed))
    if _are_institutions(tables):
        if institutions != 1 or by is not None:
            what = "the tables are those of institutions already"
            raise refused("institutions" if by is None else "by", what, "Leave it out, or pass one table.")
        return as_tables(tables, schema)
    layout = laid_out(schema, None if by is not None else whole("institutions", institutions, 1), by)
    table = as_table(tables, columns=layout.columns(schema))
    return layout.split(table, schema, np.random.default_rng(seed))


def _are_institutions(tables: object) -> bool:
    """Whether a mapping is of institutions to tables, rather than of column names to values."""
    if not isinstance(tables, Mapping) or is_table(tables):
        return False
    return bool(tables) and all(is_table(value) or isinstance(value, Mapping) for value in tables.values())
