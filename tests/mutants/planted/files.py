"""Files as people have them: what is read wrongly without a word, or betrays somebody on the way."""

from __future__ import annotations

from mutant import Mutant, mutant

LINES = "common/cohortium/data/readers/lines.py"
FORMS = "common/cohortium/data/readers/forms.py"
PACKED = "common/cohortium/data/readers/packed.py"
WORKBOOKS = "common/cohortium/data/readers/workbooks.py"
ABSENT = "common/cohortium/data/columns/absent.py"
WRITTEN = "common/cohortium/data/columns/written.py"
DRAFT = "common/cohortium/drafting/draft.py"
TEXTS = "common/cohortium/system/texts.py"
SOURCE = "client/cohortium_client/source/source.py"
ROWS = "tests/laws/test_rows.py"
FILES = "tests/data/test_forms.py"
MISSING = "tests/data/test_absent.py"
NUMBERS = "tests/data/test_written.py"
WORDS = f"{MISSING}::test_numbers_beside_words_for_missing_are_numbers_and_the_words_are_named[words0]"

WRONG = "silent misreading"
SEEN = "P10, a draft"
BAD = "5.2, bad input"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "guesses a separator where the names leave a choice",
        WRONG,
        f"{FILES}::test_a_heading_that_leaves_a_choice_is_asked_about",
        FORMS,
        "    if len(several) > 1:",
        "    if len(several) > 9:",
    ),
    mutant(
        "takes a file with a separator it does not know for one column",
        WRONG,
        f"{FILES}::test_another_separator_is_named[^]",
        FORMS,
        "if _parts(line, one)), None)",
        "if not line), None)",
    ),
    mutant(
        "takes quoted separators for separators",
        WRONG,
        f"{FILES}::test_names_that_hold_separators_in_quotes_leave_no_choice",
        FORMS,
        "if _has_marks_at_ends(line, one)]",
        "if line]",
    ),
    mutant(
        "reads a custodian's file otherwise than its source says",
        WRONG,
        f"{FILES}::test_the_custodian_reads_what_commands_read[caret]",
        SOURCE,
        "form=source.form, faults=faults",
        "faults=faults",
    ),
    mutant(
        "counts totals of everybody's rows as somebody's row",
        "P27",
        f"{FILES}::test_totals_are_no_rows_and_are_reported[Total;;1234]",
        LINES,
        "    if are_totals(cells):",
        "    if not cells:",
    ),
    mutant(
        "counts totals as a row where lines are read fast",
        "P27",
        f"{ROWS}::test_both_ways_to_read_lines_give_the_same[commas]",
        LINES,
        "return blanks or may_hold_totals(lines, separator)",
        "return blanks",
    ),
    mutant(
        "keeps the quotation marks of cells behind blanks where lines are read fast",
        WRONG,
        f"{ROWS}::test_both_ways_to_read_lines_give_the_same[commas]",
        LINES,
        "return blanks or may_hold_totals(lines, separator)",
        "return may_hold_totals(lines, separator)",
    ),
    mutant(
        "leaves out the blank rows of a single column",
        WRONG,
        f"{FILES}::test_blank_lines_of_a_single_column_are_rows",
        LINES,
        "blank_rows=len(layout.names) == 1",
        "blank_rows=False",
    ),
    mutant(
        "unpacks whatever comes out",
        BAD,
        f"{FILES}::test_a_bomb_takes_no_memory_and_ends[zstd]",
        PACKED,
        "        if self._count > MAX_UNPACKED:",
        "        if self._count < 0:",
    ),
    mutant(
        "unpacks a workbook of any size",
        BAD,
        f"{FILES}::test_a_workbook_that_unpacks_to_too_much_is_refused_unread",
        WORKBOOKS,
        "    if size > MAX_UNPACKED:",
        "    if size < 0:",
    ),
    mutant(
        "believes any number of a workbook's row",
        BAD,
        f"{FILES}::test_a_row_far_below_ends_a_workbook",
        WORKBOOKS,
        "        if number > MAX_ROWS:",
        "        if number > 20 * MAX_ROWS:",
    ),
    mutant(
        "takes Namibia for a blank though the schema has no word for missing",
        WRONG,
        f"{MISSING}::test_namibia_and_none_survive_where_they_are_declared",
        ABSENT,
        'frozenset({"", *map(_key, declared)})',
        "frozenset({*MISSING_WORDS, *map(_key, declared)})",
    ),
    mutant(
        "reads a declared code for missing as a number",
        WRONG,
        f"{MISSING}::test_moments_and_numbers_of_their_own_types_are_looked_up_too",
        ABSENT,
        "        return float(value) in numbers\n    text",
        "        return False\n    text",
    ),
    mutant(
        "names one person's word for missing in a draft",
        SEEN,
        f"{MISSING}::test_words_that_few_have_are_not_named_alone",
        "common/cohortium/drafting/found.py",
        "rare = [w for w, count in words.items() if count < RARE]",
        "rare = [w for w, count in words.items() if count < 1]",
    ),
    mutant(
        "writes into a draft how many cells are missing",
        SEEN,
        WORDS,
        DRAFT,
        'Note(column.name, text, seen=f"taken for missing: {seen}")',
        'Note(column.name, f"{text}: {seen}", seen=f"taken for missing: {seen}")',
    ),
    mutant(
        "takes words for missing without a word",
        WRONG,
        WORDS,
        DRAFT,
        'Note(column.name, text, seen=f"taken for missing: {seen}")',
        "Note(column.name, text)",
    ),
    mutant(
        "leaves words for missing unmarked",
        SEEN,
        WORDS,
        DRAFT,
        '*("kind", "nullable", "missing", ',
        '*("kind", "nullable", ',
    ),
    mutant(
        "counts a person's number in disguise anew in every part of a file",
        SEEN,
        f"{NUMBERS}::test_one_persons_number_in_disguise_is_no_point_though_parts_of_a_file_tear_her_rows_apart",
        "common/cohortium/drafting/facts.py",
        "_facts_of(read, people, known.pairs, unit_of(person))",
        "_facts_of(read, people, known.pairs[:0], unit_of(person))",
    ),
    mutant(
        "reads a number as a text that is written otherwise",
        WRONG,
        f"{NUMBERS}::test_what_is_a_number_already_stays_one",
        WRITTEN,
        "    return float(value) if isinstance(value, int | float)",
        "    return _number(str(value), how) if isinstance(value, int | float)",
    ),
    mutant(
        "takes any comma for one between thousands",
        WRONG,
        f"{NUMBERS}::test_reading[no dollars]",
        WRITTEN,
        "[0-9]{{3}})+|",
        "[0-9]{{1,3}})+|",
    ),
    mutant(
        "lets a spreadsheet run what only begins like an amount",
        "formula injection",
        f"{NUMBERS}::test_what_may_be_a_formula_is_defused_as_ever[-A1]",
        TEXTS,
        r"(?P<signs>[^\w\s]?)[0-9]",
        r"(?P<signs>[^\w\s]?)[A-Z0-9]",
    ),
)
