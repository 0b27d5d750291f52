"""From a release and tables of real rows to what is compared and attacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cohortium.data.readers.frames import Table, as_table
from cohortium.errors import InputError
from cohortium.evaluation.evaluation import Asked, evaluate
from cohortium.system.arguments import names
from cohortium_server.evaluation.evaluated import Evaluated

if TYPE_CHECKING:
    from cohortium_server.release.release import Release


def compared(
    release: Release,
    data: Table,
    holdout: Table | None = None,
    targets: str | Sequence[str] | None = None,
    groups: str | Sequence[str] = (),
    seed: int = 0,
) -> Evaluated:
    """As ``Release.evaluate``."""
    schema = release.schema
    if schema.tables:
        what, fix = "it has tables of events", "Compare the tables yourself, as docs/evaluation.md says."
        raise InputError("E_EVALUATION", release.path.name, what, fix)
    chosen = release.study.target_indices if targets is None else _places(release, "targets", targets)
    counted = release.study.privacy.rows_per_person
    asked = Asked(tuple(chosen), _places(release, "groups", groups), _guarantee(release), seed, rows_each=counted)
    real, others = as_table(data, "data"), None if holdout is None else as_table(holdout, "holdout")
    found = evaluate(schema, release.synthetic, real, others, asked, release.progress)
    return Evaluated(release.study.name, found)


def _places(release: Release, argument: str, chosen: str | Sequence[str]) -> tuple[int, ...]:
    return tuple(release.schema.index(name) for name in names(argument, chosen))


def _guarantee(release: Release) -> tuple[float, float] | None:
    """What everybody who sees the release was promised."""
    cost = release.manifest.get("guarantee")
    return None if cost is None else (float(cost["epsilon"]), float(cost["delta"]))
