"""What was run where: ``python tools/tried.py record --what "quick tests" --result passed --seconds 61`` keeps a row.

The targets of the Makefile call it when they end. It prints the row; with RECORD=1 in the environment it also writes it into
docs/tried.json, in the place of an older row of the same kind, and makes docs/tried.md from all of them. A row says what the
interpreter that runs this script has installed, and on which processor.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMED = ("flwr", "flwr-nightly", "torch", "numpy", "pandas", "pyarrow", "pydantic", "grpcio", "cryptography")
WIDEST = ("avx512f", "avx2", "avx", "sve", "asimd")  # the first that a processor has is reported


@dataclass(frozen=True)
class Row:
    """One run. setting: of the processor's libraries. commit: with a + where files differed from it."""

    what: str
    result: str
    python: str
    dependencies: str
    setting: str
    system: str
    processor: str
    versions: str
    seconds: int
    date: str
    commit: str

    @property
    def kind(self) -> tuple[str, ...]:
        """Rows of one kind follow each other; the newest is kept."""
        minor = ".".join(self.python.split(".")[:2])
        return self.what, self.dependencies, self.setting, self.system, self.processor, minor


def observed(what: str, result: str, seconds: float, dependencies: str, setting: str) -> Row:
    """A row about this interpreter and this machine."""
    return Row(
        what,
        result,
        platform.python_version(),
        dependencies,
        setting,
        _system(),
        _processor(),
        ", ".join(f"{name} {version}" for name in NAMED if (version := _version(name))),
        round(seconds),
        datetime.now(UTC).date().isoformat(),
        _commit(),
    )


def kept(rows: list[Row], new: Row) -> list[Row]:
    """All rows, the new one in the place of an older one of its kind."""
    return sorted([*(r for r in rows if r.kind != new.kind), new], key=lambda r: r.kind)


def page(rows: list[Row]) -> str:
    """docs/tried.md."""
    lines = [_HEAD, "| what | dependencies | Python | processor and setting | result | seconds | on |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        processor = f"{row.processor}: {row.setting}" if row.setting else row.processor
        where = f"{row.date}, `{row.commit}`"
        lines.append(
            f"| {row.what} | {row.dependencies} ({row.versions}) | {row.python}, {row.system} | {processor}"
            f" | {row.result} | {row.seconds:,} | {where} |"
        )
    return "\n".join(lines) + "\n"


_HEAD = """# What was run, where, and when

The targets write this page: `make test`, `make test-all`, `make numerics`, `make test-newest`, `make test-oldest` and `make wheel`, with RECORD=1
([tools/tried.py](../tools/tried.py)). A row is the newest run of its kind; what is not here was not run. *pinned* dependencies
are those of constraints.txt, *newest* whatever the registry had that day, *oldest* the lowest that pyproject.toml allows. A commit with a +
had changes that were not committed yet. Seconds were taken on shared machines, and tell minutes from hours.
"""


def _system() -> str:
    try:
        reported = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.release()}"
    return f"{reported.get('NAME', 'Linux').removesuffix(' GNU/Linux')} {reported.get('VERSION_ID', 'unstable')}"


def _processor() -> str:
    try:
        reported = dict(
            line.split(":", 1) for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if ":" in line
        )
    except OSError:
        return platform.processor() or platform.machine()
    reported = {name.strip(): value.strip() for name, value in reported.items()}
    flags = reported.get("flags", reported.get("Features", "")).split()
    widest = next((flag for flag in WIDEST if flag in flags), platform.machine())
    return f"{reported.get('model name', platform.machine())} ({widest})"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/tried.json", ":!docs/tried.md")
    return (git("rev-parse", "--short", "HEAD") or "no commit") + ("+" if changed else "")


def write(folder: Path, new: Row) -> None:
    """Keep the row in ``folder``, and make its page."""
    rows = [Row(**row) for row in json.loads(_read(folder / "tried.json"))]
    rows = kept(rows, new)
    (folder / "tried.json").write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n", encoding="utf-8")
    (folder / "tried.md").write_text(page(rows), encoding="utf-8")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else "[]"


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tried", description=__doc__)
    record = parser.add_subparsers(required=True).add_parser("record")
    record.add_argument("--what", required=True)
    record.add_argument("--result", required=True, choices=["passed", "failed"])
    record.add_argument("--seconds", required=True, type=float)
    record.add_argument("--dependencies", default="pinned")
    record.add_argument("--setting", default="")
    said = parser.parse_args(words)
    row = observed(said.what, said.result, said.seconds, said.dependencies, said.setting)
    named = " ".join(word for word in (row.what, row.dependencies, row.setting, f"Python {row.python}") if word)
    sys.stdout.write(f"{named}: {row.result} in {row.seconds} s\n")
    if os.environ.get("RECORD"):
        write(ROOT / "docs", row)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
