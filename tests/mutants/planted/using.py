"""What people meet first: a release replaced unasked, a schema nobody reviewed, a wrong word, a wait for nothing."""

from __future__ import annotations

from mutant import Mutant, mutant

PYTHON = "tests/api/test_python.py"
COMMANDS = "tests/commands/test_commands.py"
DERIVED = "tests/drafting/test_derived.py"
FOLDER = "server/cohortium_server/release/folder.py"
ANSWERS = "server/cohortium_server/release/answers/__init__.py"
LAWS = "server/cohortium_server/release/answers/laws.py"
FITTING = "simulation/cohortium_simulation/fitting.py"
EXPERIMENT = "simulation/cohortium_simulation/experiment.py"
CONDITIONS = "common/cohortium/data/conditions/parsing.py"
PROBLEMS = "common/cohortium/system/problems.py"
FRAMES = "common/cohortium/data/readers/frames.py"
WATCH = "common/cohortium/data/columns/derived.py"
DRAFT = "common/cohortium/drafting/draft.py"
PREFLIGHT = "client/cohortium_client/preflight.py"
SWALLOWED = "common/cohortium/data/conditions/swallowed.py"
EXTRAS = "common/cohortium/system/extras.py"
PROGRESS = "common/cohortium/system/progress.py"
DEVICE = "common/cohortium/neural/device.py"

KEPT, ASKED, NEXT, QUICK = (
    "existing values and files stay",
    "options take effect",
    "errors state the next step",
    "no waiting",
)

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "lets a second simulation in Python replace a release",
        KEPT,
        f"{PYTHON}::test_a_second_fit_never_replaces_a_release_unasked",
        FOLDER,
        "    if not replace and (out / MANIFEST).is_file() and",
        "    if not replace and (out / MANIFEST).is_dir() and",
    ),
    mutant(
        "runs a study into the folder of a release without looking",
        KEPT,
        "tests/server/release/test_release.py::test_nobody_is_asked_where_a_release_lies_that_is_to_stay",
        EXPERIMENT,
        "    require_no_release(out, replace)\n",
        "",
    ),
    mutant(
        "fits to a schema that nobody has reviewed",
        "P10, a draft",
        f"{PYTHON}::test_no_schema_is_read_off_rows_by_itself",
        FITTING,
        "            return _reviewed(schema.schema)\n",
        "            return schema.schema.reviewed()\n",
    ),
    mutant(
        "takes a pair for two values",
        ASKED,
        f"{PYTHON}::test_a_pair_is_no_condition_for_it_may_be_a_range_or_two_values",
        CONDITIONS,
        "case (_, _) if isinstance(condition, tuple)",
        "case (_, _) if isinstance(condition, set)",
    ),
    mutant(
        "takes a column whose name is no text",
        NEXT,
        f"{PYTHON}::test_the_name_of_a_column_is_a_text",
        FRAMES,
        "        if not isinstance(name, str):\n",
        "        if isinstance(name, bytes):\n",
    ),
    mutant(
        "shows names in a notebook as they are",
        "formula injection",
        f"{PYTHON}::test_what_is_shown_is_short_and_escaped",
        "common/cohortium/system/pages.py",
        "    return escape(for_terminal(str(text)))\n",
        "    return for_terminal(str(text))\n",
    ),
    mutant(
        "passes on what pydantic says",
        NEXT,
        f"{COMMANDS}::test_no_text_of_pydantic_reaches_anybody",
        PROBLEMS,
        '    return place, words(context, problem["input"]) if words else _UNFIT\n',
        '    return place, problem["msg"]\n',
    ),
    mutant(
        "rejects a study that nobody has signed yet",
        NEXT,
        f"{COMMANDS}::test_a_check_before_anybody_has_signed_finds_no_fault",
        PREFLIGHT,
        "if wrong := [name for name in absent if name in signatures]:",
        "if wrong := absent:",
    ),
    mutant(
        "finds no fault with a forged signature",
        "consent",
        f"{COMMANDS}::test_a_check_before_anybody_has_signed_finds_no_fault",
        PREFLIGHT,
        "if wrong := [name for name in absent if name in signatures]:",
        "if wrong := [name for name in absent if name in ()]:",
    ),
    mutant(
        "takes files with contents for ones that a shell created",
        KEPT,
        f"{COMMANDS}::test_a_condition_that_a_shell_took_apart_is_reported",
        SWALLOWED,
        "path.is_file() and not path.stat().st_size\n",
        "path.is_file()\n",
    ),
    mutant(
        "advises a checkout to install from an index",
        NEXT,
        f"{COMMANDS}::test_an_extra_is_installed_from_where_cohortium_came[checkout]",
        EXTRAS,
        "    if not url:\n",
        "    if url:\n",
    ),
    mutant(
        "says that a column follows where one row contradicts",
        ASKED,
        f"{DERIVED}::test_one_row_that_contradicts_is_enough_wherever_it_is",
        WATCH,
        "            for rows in (part.iloc[:FIRST], part.iloc[FIRST:]):",
        "            for rows in (part.iloc[:FIRST],):",
    ),
    mutant(
        "writes down which column follows from which",
        "P10, a draft",
        f"{DERIVED}::test_a_draft_says_so_on_the_screen_and_writes_none_of_it_down",
        DRAFT,
        'Note(name, "", seen=seen) for name, seen in following',
        "Note(name, seen) for name, seen in following",
    ),
    mutant(
        "answers by other error distributions than were stored",
        "an interval holds",
        f"{COMMANDS}::test_laws_are_read_as_they_were_kept",
        LAWS,
        'return Law(**{**parts, "overlap": float(parts["overlap"][0]), "middle": middle})',
        'return Law(**{**parts, "overlap": float(parts["overlap"][0]) / 2, "middle": middle})',
    ),
    mutant(
        "accepts malformed error distributions",
        "a release that was touched",
        f"{COMMANDS}::test_laws_that_are_none_are_refused",
        LAWS,
        "    if len(features) != 1 or any(parts[k].shape != shape for k, shape in shapes.items()):\n",
        "    if len(features) != 1 and any(parts[k].shape != shape for k, shape in shapes.items()):\n",
    ),
    mutant(
        "estimates again the error distributions that a release stores",
        QUICK,
        f"{COMMANDS}::test_a_release_that_commands_wrote_answers_without_a_fit",
        ANSWERS,
        "        if self.known is not None and not self.alone:\n",
        "        if self.known is not None and self.alone:\n",
    ),
    mutant(
        "loads torch to draw rows",
        QUICK,
        f"{COMMANDS}::test_who_uses_a_release_waits_for_no_library_that_fits_one[sample]",
        DEVICE,
        '    if "torch" not in sys.modules:\n',
        '    if "torch" in sys.modules:\n',
    ),
    mutant(
        "loses the progress made before it is first shown",
        NEXT,
        f"{COMMANDS}::test_short_work_is_not_reported_and_long_work_from_then_on",
        PROGRESS,
        "                self._shown.advance(at)\n",
        "                self._shown.advance(by)\n",
    ),
)
