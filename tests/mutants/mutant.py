"""A mutant: a bug planted into a copy of the product, and the one test that must fail because of it."""

from __future__ import annotations

import compileall
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "cohortium": "common",
    "cohortium_client": "client",
    "cohortium_server": "server",
    "cohortium_simulation": "simulation",
}
_LEFT_OUT = ("__pycache__", "*.parquet", "*.pyi", ".*")


class RottenError(Exception):
    """A mutant that cannot be planted any more: the code it changes has changed."""


@dataclass(frozen=True)
class Change:
    """One text in one file of the product, which must be there exactly once, replaced by another."""

    file: str
    old: str
    new: str

    def made_in(self, text: str) -> str:
        """``text`` with the change. RottenError unless the old text is there exactly once."""
        found = text.count(self.old)
        if found != 1:
            line = self.old.strip().splitlines()[0]
            raise RottenError(f"{self.file} holds {line!r} {found} times, not once: plant this mutant anew")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Mutant:
    """A planted bug.

    name: what the mutated product does wrong. pitfall: numbers of docs/threat-model.md, or words.
    killed_by: the pytest node id of one test. changes: most often one.
    """

    name: str
    pitfall: str
    killed_by: str
    changes: tuple[Change, ...]

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.file for c in self.changes))


def mutant(name: str, pitfall: str, killed_by: str, file: str, old: str, new: str, *more: tuple[str, str]) -> Mutant:
    """A mutant of one file; ``more`` are further (old, new) in it."""
    changes = tuple(Change(file, o, n) for o, n in ((old, new), *more))
    return Mutant(name, pitfall, killed_by, changes)


def pristine(root: Path, folder: Path) -> Path:
    """A compiled copy of the product's packages in ``folder``, from which mutants are made."""
    for package, room in PACKAGES.items():
        shutil.copytree(root / room / package, folder / room / package, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    compileall.compile_dir(folder, quiet=2, maxlevels=20)
    return folder


def planted(original: Path, folder: Path, one: Mutant) -> Path:
    """A copy of the pristine product in ``folder`` with the mutant in it; files it does not touch are links."""
    shutil.copytree(original, folder, copy_function=os.link)
    for change in one.changes:
        path = folder / change.file
        if not path.is_file():
            raise RottenError(f"there is no file {change.file} any more: plant this mutant anew")
        text = change.made_in(path.read_text(encoding="utf-8"))
        path.unlink()
        path.write_text(text, encoding="utf-8")
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()
    return folder
