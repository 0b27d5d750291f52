"""What a notebook shows of a release and of its report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortium.data.schema import Schema
from cohortium.study.wording import Kind, kind_words
from cohortium.system.pages import framed, page


@dataclass(frozen=True, repr=False)
class Report(os.PathLike[str]):
    """The report of a release: one HTML file that runs no script and loads nothing."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<Report {str(self.path)!r}>"

    @property
    def html(self) -> str:
        """The whole page."""
        return self.path.read_text(encoding="utf-8")

    def show(self) -> None:
        """Open it in the browser of this machine."""
        import webbrowser

        webbrowser.open(self.path.absolute().as_uri())

    def _repr_html_(self) -> str:
        return framed(self.html)


def release_page(path: Path, manifest: Mapping[str, Any], kind: Kind | None, schema: Schema) -> str:
    """What the release in a folder is, what it cost, and which columns it has."""
    m, cost = manifest, manifest.get("guarantee")
    lines = [
        kind_words(kind),
        f"NOT PRIVATE. {m['warning']}"
        if cost is None
        else f"epsilon {cost['epsilon']:.4f} at delta {cost['delta']:g} per person",
        f"{m['rows']} synthetic rows by {m['generator']} from {', '.join(m['institutions'])}",
    ]
    columns = schema.columns
    return page(f"Release {path}", lines, ("column", "kind"), [(c.name, c.kind) for c in columns])
