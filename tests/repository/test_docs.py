"""The documents: short enough, their links and the files they name are there, and every number that is cited is explained."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = [
    p
    for room in ("common", "client", "server", "simulation", "tests", "tools", "benchmarks")
    for p in sorted((ROOT / room).rglob("*.py"))
]
NAMES = {p.name for p in SOURCES} | {p.name for p in (ROOT / "deploy").rglob("*.py")}
TESTS = {
    name
    for p in SOURCES
    if "tests" in p.parts
    for name in (p.stem, *re.findall(r"def (test_\w+)", p.read_text(encoding="utf-8")))
}
THREATS = ROOT / "docs" / "threat-model.md"
NUMBER = (
    r"[PTFA]\d+|\d(?:\.\d)?(?: \([a-z]\)| R\d| \(receipts\)|, (?:keys|rotation|process split|manifest|no privacy))?"
)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.S)


def slug(heading: str) -> str:
    """The anchor that a heading has on the pages of a forge."""
    plain = re.sub(r"<[^>]*>|`|\*", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = text_of(page)
    headings = {slug(found) for found in re.findall(r"^#+ (.*)$", without_code(text), re.M)}
    return headings | set(re.findall(r'<a id="([^"]+)">', text))


def test_the_readme_is_read_to_the_end() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text_of(page))):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        led = (page.parent / file).resolve() if file else page
        if not led.exists() or (anchor and led.suffix == ".md" and anchor not in anchors(led)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    """Modules by their name or by a path; tests, too."""
    missing = []
    for named in re.findall(r"`([\w./-]+\.py)\b", without_code(text_of(page))):
        known = any(str(p).endswith("/" + named.removeprefix("simulation/.../")) for p in SOURCES)
        if not known and Path(named).name not in (NAMES if "/" not in named else set()):
            missing.append(named)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"(?:::|`)(test_\w+)(?=[`\[,; ])", without_code(text_of(page)))
    assert [name for name in named if name not in TESTS] == []


# What is cited of the threat model


def anchor_of(number: str) -> str:
    return re.sub(r"[ ,()]+", "-", number).strip("-")


def pitfalls() -> set[str]:
    sys.path.insert(0, str(ROOT / "tests" / "mutants"))
    try:
        from planted import ROOMS
    finally:
        sys.path.pop(0)
    return {m.pitfall for room in ROOMS.values() for m in room}


def citations() -> dict[str, str]:
    """Every number that code, tests, documents or mutants cite, and one place that does."""
    cited = {
        found: f"mutants: {reported}" for reported in pitfalls() for found in re.findall(rf"\b(?:{NUMBER})", reported)
    }
    for page in [*SOURCES, *(p for p in PAGES if p != THREATS)]:
        for tail in re.findall(
            r"threat-model\.md\)?,? ((?:(?:, | and | to )?[PTFA\d][\w.]*(?: R\d| \([a-z]\))?)+)", text_of(page)
        ):
            cited |= dict.fromkeys(re.findall(rf"\b(?:{NUMBER})", tail), str(page))
    return cited


def test_numbers_are_cited() -> None:
    assert {
        "P10",
        "T9",
        "F2",
        "A4",
        "3.2 (b)",
        "4.2 R4",
        "5.1",
        "5.2",
        "6, keys",
        "6, no privacy",
    } <= citations().keys()


def test_every_number_that_is_cited_is_explained() -> None:
    known = anchors(THREATS)
    assert {number: place for number, place in citations().items() if anchor_of(number) not in known} == {}


def test_every_bad_input_that_a_test_is_named_for_is_explained() -> None:
    named = {int(n) for p in SOURCES for n in re.findall(r"def test_bad_input_(\d+)", text_of(p))}
    explained = {int(a.removeprefix("bad-input-")) for a in anchors(THREATS) if a.startswith("bad-input-")}
    assert len(named) > 30
    assert named <= explained == set(range(1, 48))
    rows = dict(re.findall(r'<a id="bad-input-\d+"></a>(\d+) \|.*?\|.*?\| (.*)\|$', text_of(THREATS), re.M))
    assert {n for n in explained if not rows[str(n)].strip()} <= named, (
        "a row without a test's name says where it is tested"
    )


def test_what_is_cited_is_in_the_repository() -> None:
    """SECURITY.md is about reports; whoever cites a number means the threat model."""
    wrong = re.compile(r"SECURITY\.md,? (?:section )?[P\d]")
    assert [str(p) for p in [*SOURCES, *PAGES] if p != Path(__file__).resolve() and wrong.search(text_of(p))] == []


# Where to change what


def tasks() -> list[tuple[str, str, str]]:
    """The rows of the table of tasks: what to do, the file, and what is in it."""
    table = text_of(ROOT / "docs" / "architecture.md").partition("## Ten tasks")[2].partition("\n## ")[0]
    return re.findall(r"^\| ([^|]+) \| `([^`]+)` \| `([\w.]+)` \|", table, re.M)


def defined(path: Path) -> set[str]:
    """Functions and classes of a module, methods as ``Class.method``, and the names it assigns."""
    found: set[str] = set()
    for node in ast.parse(text_of(path)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {t.id for t in targets if isinstance(t, ast.Name)}
    return found


def test_there_are_ten_tasks() -> None:
    assert len(tasks()) == len({task for task, *_ in tasks()}) == 10


@pytest.mark.parametrize(("task", "file", "name"), tasks(), ids=[name for *_, name in tasks()])
def test_a_task_is_done_where_it_is_said_to_be(task: str, file: str, name: str) -> None:
    assert name in defined(ROOT / file), task


def test_every_folder_is_on_the_tour() -> None:
    """The folders of the product that have modules, and no others."""
    tour = text_of(ROOT / "docs" / "architecture.md").partition("## The tour")[2].partition("\n## ")[0]
    reported = set(re.findall(r"^\| `([\w/]+)/`", tour, re.M))
    packages = (
        "common/cohortium",
        "client/cohortium_client",
        "server/cohortium_server",
        "simulation/cohortium_simulation",
    )
    there = {str(p.parent.relative_to(ROOT)) for package in packages for p in (ROOT / package).rglob("__init__.py")}
    assert reported == there
