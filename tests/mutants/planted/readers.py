"""Rows that decide about other rows, or whether there is an answer; and persons who are not told apart exactly."""

from __future__ import annotations

from mutant import Mutant, mutant

LINES = "common/cohortium/data/readers/lines.py"
CELLS = "common/cohortium/data/readers/cells.py"
FAULTS = "common/cohortium/data/readers/faults.py"
TABLES = "common/cohortium/data/readers/tables.py"
DATABASE = "client/cohortium_client/source/database.py"
ENCODING = "common/cohortium/data/columns/encoding.py"
IDENTIFIERS = "common/cohortium/data/identifiers.py"
PARTITION = "simulation/cohortium_simulation/partition.py"
HOLDINGS = "simulation/cohortium_simulation/holdings.py"
ROWS = "tests/laws/test_rows.py"
PERSONS = "tests/laws/test_identifiers.py"
ANSWERS = "tests/client/source/test_answer_or_refusal.py"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "lets a quotation mark that is left open swallow other persons' rows",
        "P27",
        f"{ROWS}::test_both_ways_to_read_lines_give_the_same[commas]",
        LINES,
        'if table.num_rows + len(bad) != lines.count(b"\\n") + 1:',
        "if table.num_rows == 0:",
    ),
    mutant(
        "puts nothing behind a block that an open quotation mark would swallow",
        "P27",
        f"{ROWS}::test_both_ways_to_read_lines_give_the_same[commas]",
        LINES,
        'behind = layout.separator.join([_NOTHING] * len(layout.names)) + b"\\n"',
        'behind = b""',
        ('lines.count(b"\\n") + 1:  # a row', 'lines.count(b"\\n"):  # a row'),
        ("return table.slice(0, table.num_rows - 1)", "return table"),
    ),
    mutant(
        "loses the row that two blocks share",
        "P27",
        f"{ROWS}::test_blocks_make_no_difference[commas]",
        LINES,
        "pending = data[end:][: MAX_ROW + 1]",
        'pending = data[end:][: MAX_ROW + 1] if end else b""',
    ),
    mutant(
        "reads a row in one way or another by where its block begins",
        "P27",
        f"{ROWS}::test_both_ways_to_read_lines_give_the_same[commas]",
        LINES,
        "or lines.startswith(BOM) ",
        "",
    ),
    mutant(
        "lets a row that is too long through where its block is a short one",
        "P27",
        f"{ROWS}::test_a_long_line_is_no_row_whatever_its_neighbours[100]",
        LINES,
        "    if len(line) > MAX_ROW:\n        faults.note(LONG_ROW, row)\n        return None\n",
        "",
        ("or _longest(lines) > MAX_ROW ", ""),
    ),
    mutant(
        "refuses a table in which one row has a cell too many",
        "P27",
        f"{ANSWERS}::test_no_row_of_csv_decides[one cell too many-0]",
        FAULTS,
        "        if self._strict:\n",
        "        if self._strict or kind is CELLS:\n",
    ),
    mutant(
        "reads a custodian's table as strictly as a person's own",
        "P27",
        f"{ANSWERS}::test_no_row_of_csv_decides[Latin-1-0]",
        TABLES,
        "        if faults.strict:\n            _ask_about_blanks(path, heading, form)\n            rows =",
        "        if True:\n            rows =",
    ),
    mutant(
        "drops everybody's row in a block with a byte that is not UTF-8",
        "P27",
        f"{ANSWERS}::test_no_row_of_csv_decides[Latin-1-0]",
        LINES,
        'for row, line in enumerate(lines.split(b"\\n")[:-1], first):',
        'for row, line in enumerate(lines.split(b"\\n")[:-1] if _is_utf8(lines) else [], first):',
    ),
    mutant(
        "refuses a table in which one date is of no year",
        "P27",
        f"{ANSWERS}::test_no_cell_of_parquet_decides[date32-t]",
        CELLS,
        "    return (numbers >= _FIRST * per_second) & (numbers < (_LAST + 1) * per_second)",
        "    if (numbers >= (_LAST + 1) * per_second).any():\n        raise OverflowError\n    return np.ones(len(numbers), bool)",
    ),
    mutant(
        "makes everybody's text missing beside one that is not UTF-8",
        "P27",
        f"{ANSWERS}::test_no_cell_of_parquet_decides[not UTF-8-p]",
        CELLS,
        "data = pa.array([_noted(v, note, place) for place, v in enumerate(data.to_pylist())], pa.large_binary())",
        "data = pa.nulls(len(data), pa.large_binary())",
    ),
    mutant(
        "lets SQLite's driver end a query at a text that is not UTF-8",
        "P27",
        f"{ANSWERS}::test_a_text_of_sqlite_decides_nothing",
        DATABASE,
        "        connection.text_factory = text_or_why_not\n",
        "        pass\n",
    ),
    mutant(
        "lets the first leading zero in a column decide how the others are read",
        "P27",
        "tests/data/test_encoding.py::test_a_zero_means_the_same_whoever_else_writes_one",
        ENCODING,
        "words.get(category_key(value).lower(), INVALID)",
        "words.get(str(value).strip().lower(), INVALID)",
    ),
    mutant(
        "identifies persons by a hash of 20 bits",
        "P27",
        f"{PERSONS}::test_no_two_of_many_persons_are_one[True]",
        IDENTIFIERS,
        "or not _is_text(text) else text\n",
        'or not _is_text(text) else str(__import__("zlib").crc32(text.encode()) % 2**20)\n',
    ),
    mutant(
        "identifies persons by a hash under a public key",
        "P27",
        f"{PERSONS}::test_the_published_pair_is_two_persons",
        IDENTIFIERS,
        "or not _is_text(text) else text\n",
        "or not _is_text(text) else str(pd.util.hash_array(np.array([text], object), categorize=False)[0])\n",
    ),
    mutant(
        "takes 12 and 12.0 for two persons",
        "P27",
        f"{PERSONS}::test_a_whole_number_is_one_person_whatever_its_type",
        IDENTIFIERS,
        "        text = whole[1]\n",
        "        pass\n",
    ),
    mutant(
        "takes a person for another where blanks are around the identifier",
        "P27",
        f"{PERSONS}::test_a_text_is_one_person_in_any_normal_form_and_between_blanks",
        IDENTIFIERS,
        "    text = text.strip()\n",
        "",
    ),
    mutant(
        "takes a person for another where accents are written apart",
        "P27",
        f"{PERSONS}::test_a_text_is_one_person_in_any_normal_form_and_between_blanks",
        IDENTIFIERS,
        'unicodedata.normalize("NFC", text)',
        "text",
    ),
    mutant(
        "numbers the persons of each part anew",
        "P27",
        f"{PERSONS}::test_no_two_of_many_persons_are_one[False]",
        IDENTIFIERS,
        "pa.chunked_array(encoded).unify_dictionaries()",
        "pa.chunked_array(encoded)",
    ),
    mutant(
        "splits a simulation's persons by how their identifiers are written",
        "P27",
        f"{PERSONS}::test_a_split_keeps_all_forms_of_a_person_together",
        PARTITION,
        "return pd.util.hash_array(texts[whose.places])",
        'return pd.util.hash_array(table[person].astype("string").fillna("").to_numpy(object))',
    ),
    mutant(
        "counts a simulation's persons by how their identifiers are written",
        "P27",
        f"{PERSONS}::test_a_person_in_two_institutions_is_found_in_any_form",
        HOLDINGS,
        "identifiers_of(table[schema.person]).distinct.to_pylist()",
        "table[schema.person].astype(str).unique().tolist()",
    ),
)
