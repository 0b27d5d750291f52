"""docs/mutants.md: the list of mutants as a table, written from the mutants themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mutant import PACKAGES, ROOT, Mutant

PAGE = ROOT / "docs" / "mutants.md"
HEAD = """# Planted privacy bugs

Each line is a bug planted into a copy of the product, and the one test that must fail because of it and pass without it.
`make mutants` (part of `make test-all`) plants all of them, one at a time, prints "mutants killed N of N" and fails if one
survives, if the code a mutant changes has changed, or if this page is not current. A test that breaks down instead of
finding something does not count. Numbers are those of [threat-model.md](threat-model.md): P pitfalls, F findings, T
adversaries, A assets, plain ones its sections. The mutants are in `tests/mutants/planted/`; this page is written from them by
`python tests/mutants --docs`.

Each of the pitfalls P1 to P20 has a mutant. Some cannot be planted as described; then the nearest thing to them is:

* P7 to P9 and P11 are about ledgers and tables, and the same for every query.
* P12: institutions answer with sums and never with rows, so nothing of a row can pass through. What is left to plant is a
  decoder that writes what the schema does not declare.
* P15: a critic has no pac, and its loss gets rows one by one. The mutants show it rows together.
* P16: the coordinator, where a GAN's generator is, has no rows: it receives noised sums alone. The mutants send an un-noised
  sum, and leave a part of what institutions train out of the clip.
* P18: no network normalises by a batch. The mutants subtract a batch's mean, in a loss and in the errors.
* P20: rounds, steps and clip follow from the study. The mutants clip by the batch, and stop when a real sum is short.
"""


def page(rooms: Mapping[str, Sequence[Mutant]]) -> str:
    """The whole page: a table for each room, and how many mutants each file of the product has."""
    tables = (line for room, mutants in rooms.items() for line in _table(room, mutants))
    return "\n".join([HEAD, *tables, *_coverage(rooms)])


def _coverage(rooms: Mapping[str, Sequence[Mutant]]) -> list[str]:
    """Folder by folder every file with its number, none included; a mutant of two files counts in both."""
    counts = Counter(f for mutants in rooms.values() for m in mutants for f in m.files)
    folders: dict[Path, list[str]] = {}
    for package, room in PACKAGES.items():
        for path in sorted((ROOT / room / package).rglob("*.py")):
            name = path.relative_to(ROOT)
            if path.name != "__init__.py" or str(name) in counts:
                folders.setdefault(name.parent, []).append(f"`{path.name}` {counts[str(name)]}")
    head = ["## Where they are", "", "| folder | files, and how many mutants each has |", "|---|---|"]
    return [*head, *(f"| `{folder}` | {', '.join(files)} |" for folder, files in folders.items()), ""]


def _table(room: str, mutants: Sequence[Mutant]) -> list[str]:
    head = [f"## {room}", "", "| the mutated product | pitfall | in | killed by |", "|---|---|---|---|"]
    return [*head, *(_row(m) for m in mutants), ""]


def _row(one: Mutant) -> str:
    files = ", ".join(f"`{Path(f).name}`" for f in one.files)
    return f"| {one.name} | {one.pitfall} | {files} | `{one.killed_by.removeprefix('tests/')}` |".replace("\n", " ")


def is_current(rooms: Mapping[str, Sequence[Mutant]]) -> bool:
    return PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page(rooms)
