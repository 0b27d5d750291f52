"""Malformed tables through every reader, with one person and without: what that person decides about others.

    python benchmarks/fuzz.py [--files 2000] [--out benchmarks/results/fuzz.json]

The tables are those of tests/support/malformed.py, by the seeds 0, 1, 2, ... Each is read as a custodian reads it, once without a
newcomer and once with a newcomer's rows somewhere in it, whatever these hold. Wanted is that nothing differs: neither
whether there is an answer, nor what anybody else's rows become.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from printing import Figure, shown, write
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "support"))


def figures(kind: str, files: int, folder: Path) -> Iterator[Figure]:
    """How many of ``files`` tables of one kind differ, and how many are answered at all."""
    from malformed import CASES, differences, outcome

    begun, answered, refused, otherwise, changed = time.monotonic(), 0, 0, 0, 0
    for seed in range(files):
        case = CASES[kind](seed, folder)
        reported = differences(case)
        otherwise, changed = otherwise + ("without" in reported), changed + ("changed" in reported)
        found = outcome(case.with_newcomer, folder)
        answered, refused = answered + (not isinstance(found, str)), refused + isinstance(found, str)
        if reported:
            print(f"{kind}, seed {seed}: {reported}", file=sys.stderr)
    note = f"of {files:,} files, {answered:,} answered from and {refused:,} refused as a whole"
    yield Figure(f"{kind}: one person decides whether there is an answer", otherwise, "files", 0, note)
    seconds = f"{time.monotonic() - begun:.0f} s"
    yield Figure(f"{kind}: one person changes somebody else's rows", changed, "files", 0, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "fuzz.json")
    chosen = parser.parse_args()
    found: list[Figure] = []
    for kind in ("CSV", "Parquet", "SQLite"):
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            found += figures(kind, chosen.files, Path(folder))
        write(found, {"files": chosen.files}, chosen.out)
    Console(width=170).print(shown(found, "Malformed tables, with one person and without"))
    sys.exit(any(f.reached is False for f in found))


if __name__ == "__main__":
    main()
