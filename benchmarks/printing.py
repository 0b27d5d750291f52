"""Figures beside the ones we want to reach: as a table, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measurement. wanted: None where it stands for comparison only."""

    name: str
    value: float
    unit: str
    wanted: float | None = None
    note: str = ""
    larger_is_better: bool = False

    @property
    def reached(self) -> bool | None:
        if self.wanted is None:
            return None
        return self.value >= self.wanted if self.larger_is_better else self.value <= self.wanted


def shown(figures: Sequence[Figure], title: str) -> Table:
    result = Table(title=title)
    for column in ("", "measured", "unit", "wanted", "note"):
        result.add_column(column, justify="right" if column in ("measured", "wanted") else "left")
    for f in figures:
        sign = "≥" if f.larger_is_better else "≤"
        wanted = "" if f.wanted is None else f"{'✓' if f.reached else '✗'} {sign} {f.wanted:g}"
        result.add_row(f.name, f"{f.value:.3f}", f.unit, wanted, f.note)
    return result


def write(figures: Sequence[Figure], settings: dict[str, Any], path: Path) -> None:
    reported = {**settings, "figures": [{**asdict(f), "reached": f.reached} for f in figures]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(reported, indent=1) + "\n", encoding="utf-8")
