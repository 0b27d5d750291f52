"""Drafts that betray persons, marks that nobody sees, and names that are run where they are shown."""

from __future__ import annotations

from mutant import Mutant, mutant

DRAFT = "common/cohortium/drafting/draft.py"
SCHEMA = "common/cohortium/data/schema.py"
CONSENT = "common/cohortium/study/consent.py"
TEXTS = "common/cohortium/system/texts.py"
OUTPUT = "common/cohortium/system/output.py"
TABLES = "server/cohortium_server/release/tables.py"
SIMULATION = "simulation/cohortium_simulation/requested.py"
EXPERIMENT = "simulation/cohortium_simulation/experiment.py"
CHECK = "common/cohortium/commands/schema.py"
REVIEW = "tests/drafting/test_review.py"
NAMES = "tests/system/test_texts.py"
ONE = f"{REVIEW}::test_one_person_of_many_rows_puts_nothing_into_a_draft[50]"

DRAFTED = "P10, a draft"
RUN = "names that are run"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "counts rows instead of persons for a draft",
        DRAFTED,
        ONE,
        "common/cohortium/drafting/facts.py",
        'if unit == "persons" else',
        'if unit == "nobody" else',
    ),
    mutant(
        "counts a person anew in every part of a file",
        DRAFTED,
        f"{REVIEW}::test_her_rows_count_once_also_where_parts_of_a_file_tear_them_apart",
        "common/cohortium/drafting/facts.py",
        "_facts_of(part.iloc[:, j], people, known.pairs, unit_of(person))",
        "_facts_of(part.iloc[:, j], people, known.pairs[:0], unit_of(person))",
    ),
    mutant(
        "lists a value that one person has",
        DRAFTED,
        ONE,
        "common/cohortium/drafting/facts.py",
        "for word, count in self.counts.most_common() if count >= RARE]",
        "for word, count in self.counts.most_common() if count >= 1]",
    ),
    mutant(
        "takes the extremes of single persons for bounds",
        DRAFTED,
        ONE,
        "common/cohortium/drafting/facts.py",
        "return float(self.numbers[-1]) if",
        "return float(self.numbers[0]) if",
    ),
    mutant(
        "takes all of the ten extremes from one person",
        DRAFTED,
        f"{REVIEW}::test_ten_numbers_of_one_person_are_no_ten_persons",
        "common/cohortium/drafting/facts.py",
        "np.unique(persons[order], return_index=True)",
        "np.unique(np.arange(len(order)), return_index=True)",
        ("if len(self.numbers) == RARE else", "if len(self.numbers) >= RARE else"),
    ),
    mutant(
        "does not widen an upper bound that is round already",
        DRAFTED,
        "tests/drafting/test_draft.py::test_bounds_are_round_and_never_what_they_bound",
        "common/cohortium/drafting/numbers.py",
        "math.floor(highest / step + 1e-9) + 2",
        "math.ceil(highest / step - 1e-9)",
    ),
    mutant(
        "does not widen a lower bound",
        DRAFTED,
        f"{REVIEW}::test_no_bound_of_a_draft_is_the_extreme",
        "common/cohortium/drafting/numbers.py",
        "    return lower + 0.0, upper + 0.0",
        "    return lowest + 0.0, upper + 0.0",
    ),
    mutant(
        "tells by the decimals what one person's number needs",
        DRAFTED,
        ONE,
        "common/cohortium/drafting/numbers.py",
        "if sum(facts.decimals[d + 1 :]) < RARE)",
        "if sum(facts.decimals[d + 1 :]) < 1)",
    ),
    mutant(
        "makes a point of one person's number",
        DRAFTED,
        ONE,
        "common/cohortium/drafting/numbers.py",
        "RARE if few else",
        "1 if few else",
    ),
    mutant(
        "leaves bounds unmarked",
        DRAFTED,
        f"{REVIEW}::test_every_entry_of_a_draft_is_marked[p]",
        DRAFT,
        '"lower", "upper", "decimals", "bins", "points"',
        '"decimals", "bins", "points"',
    ),
    mutant(
        "leaves lists of categories unmarked",
        DRAFTED,
        f"{REVIEW}::test_every_entry_of_a_draft_is_marked[p]",
        DRAFT,
        '("kind", "nullable", "missing", "categories", "other")',
        '("kind", "nullable", "missing")',
    ),
    mutant(
        "writes rare values into a draft's comments",
        DRAFTED,
        f"{REVIEW}::test_the_screen_alone_tells_what_was_seen",
        "common/cohortium/drafting/rendering.py",
        'f"# {for_terminal(note.text)}\\n" for note in notes if note.text and',
        'f"# {for_terminal(note.text + note.seen)}\\n" for note in notes if',
    ),
    mutant(
        "signs a study whose schema nobody has reviewed",
        DRAFTED,
        f"{REVIEW}::test_nobody_signs_a_draft",
        CONSENT,
        "    study.schema.require_reviewed(f",
        "    str(f",
    ),
    mutant(
        "believes a signature under a draft",
        DRAFTED,
        f"{REVIEW}::test_whatever_is_shown_nobody_has_signed_a_draft",
        CONSENT,
        " or study.schema.marks:",
        ":",
    ),
    mutant(
        "loses marks where a schema is written",
        DRAFTED,
        f"{REVIEW}::test_a_mark_is_kept_by_whatever_writes_a_schema",
        SCHEMA,
        'if f.name not in ("name", "kind")}',
        'if f.name not in ("name", "kind", "review")}',
    ),
    mutant(
        "takes no comment for a mark",
        DRAFTED,
        f"{REVIEW}::test_comments_of_earlier_drafts_and_of_a_person_are_marks_too",
        SCHEMA,
        "if _COMMENT.search(text) else schema",
        'if _COMMENT.search("") else schema',
    ),
    mutant(
        "simulates a draft as if somebody had reviewed it",
        DRAFTED,
        f"{REVIEW}::test_commands_say_so_and_stop",
        SIMULATION,
        "    if reviewed:\n        schema = schema.reviewed()",
        "    if True:\n        schema = schema.reviewed()",
    ),
    mutant(
        "fits a draft without privacy",
        DRAFTED,
        f"{REVIEW}::test_nobody_simulates_a_draft[none]",
        EXPERIMENT,
        "    study.schema.require_reviewed()\n",
        "",
    ),
    mutant(
        "checks a draft as if it were a schema",
        DRAFTED,
        f"{REVIEW}::test_commands_say_so_and_stop",
        CHECK,
        "        if not reviewed:\n",
        "        if False:\n",
    ),
    mutant(
        "writes a column's name as it is over a CSV file",
        RUN,
        f"{NAMES}::test_no_cell_that_is_written_is_a_formula",
        TABLES,
        "[for_spreadsheet(str(name)) for name in table.columns]",
        "[str(name) for name in table.columns]",
    ),
    mutant(
        "writes pandas' categories as they are",
        RUN,
        f"{NAMES}::test_no_cell_that_is_written_is_a_formula",
        TABLES,
        "types.is_numeric_dtype(kind) or",
        'types.is_numeric_dtype(kind) or kind == "category" or',
    ),
    mutant(
        "takes full-width signs for letters",
        RUN,
        f"{NAMES}::test_what_is_a_formula_is_the_same_told_in_two_ways",
        TEXTS,
        "unicodedata.normalize(form, text)",
        "text",
    ),
    mutant(
        "lets what nobody sees stand before a formula",
        RUN,
        f"{NAMES}::test_what_is_a_formula_is_the_same_told_in_two_ways",
        TEXTS,
        "if not c.isspace() and not is_unseen(c)",
        "if not c.isspace()",
    ),
    mutant(
        "lets a carriage return begin a row",
        RUN,
        f"{NAMES}::test_what_is_a_formula_is_the_same_told_in_two_ways",
        TEXTS,
        '.replace("\\r", "\\n")\n',
        "\n",
    ),
    mutant(
        "accepts any name in a schema",
        RUN,
        f"{NAMES}::test_no_csv_of_an_accepted_schema_holds_a_formula",
        SCHEMA,
        'trouble(name) if name else "is empty"',
        '"" if name else "is empty"',
    ),
    mutant(
        "accepts marks of direction in a schema",
        RUN,
        f"{NAMES}::test_no_schema_has_such_a_name_or_category[19]",
        TEXTS,
        'frozenset({"Cc", "Cf", ',
        'frozenset({"Cc", ',
    ),
    mutant(
        "reads markup in names on a console",
        RUN,
        f"{NAMES}::test_a_console_reads_no_markup_in_names",
        OUTPUT,
        "markup=False, emoji=False",
        "markup=True, emoji=False",
    ),
    mutant(
        "lets names give a terminal orders in tables",
        RUN,
        f"{NAMES}::test_a_console_reads_no_markup_in_names",
        OUTPUT,
        '"\\n".join(map(for_terminal, text.split("\\n")))',
        "text",
    ),
    mutant(
        "lets names give a terminal orders in lines",
        RUN,
        f"{NAMES}::test_lines_and_objects_hold_no_orders[19]",
        OUTPUT,
        'typer.echo("\\n".join(map(for_terminal, lines)), err=True)',
        'typer.echo("\\n".join(lines), err=True)',
    ),
    mutant(
        "lets names give a terminal orders in JSON",
        RUN,
        f"{NAMES}::test_lines_and_objects_hold_no_orders[19]",
        OUTPUT,
        "json.dumps(c)[1:-1] if is_unseen(c) else c",
        "c",
    ),
    mutant(
        "reads markup in a bar's words",
        RUN,
        f"{NAMES}::test_a_bar_reads_no_markup_in_its_words",
        OUTPUT,
        "escape(for_terminal(what))",
        "what",
    ),
)
