"""Values that were there and are overwritten, and rows that vanish without a word."""

from __future__ import annotations

from mutant import Mutant, mutant

BLANKS = "server/cohortium_server/release/blanks.py"
SPELLING = "server/cohortium_server/release/spelling.py"
OWNED = "server/cohortium_server/release/owned.py"
PARQUET = "common/cohortium/data/readers/parquet.py"
TALLY = "common/cohortium/drafting/tally.py"
DRAFT = "common/cohortium/drafting/draft.py"
OUTPUT = "common/cohortium/system/output.py"
SIMULATION = "simulation/cohortium_simulation/inputs.py"
IMPUTE = "tests/server/release/test_impute.py"
COUNTED = "tests/drafting/test_tally.py"
KILLERS = "tests/mutants/test_untouched_killers.py"
PAIRS = f"{IMPUTE}::test_any_pair_of_formats_keeps_what_is_there[csv-csv]"
TOLD = f"{IMPUTE}::test_what_is_reported_of_a_column"
FEW = f"{COUNTED}::test_a_table_of_few_persons"

THERE = "existing values and files stay"
SPELT = "one spelling in a column"
COUNTS = "P10, exact counts"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "overwrites values that the schema does not declare",
        THERE,
        PAIRS,
        BLANKS,
        'wanted = ~given.known if undeclared == "blank" else ~given.known & ~given.strange',
        "wanted = ~given.known",
    ),
    mutant(
        "overwrites every value",
        THERE,
        f"{KILLERS}::test_what_is_there_stays_when_blanks_are_filled_in",
        BLANKS,
        "where = wanted[:, j] & (index[:, j] != INVALID)",
        "where = index[:, j] != INVALID",
    ),
    mutant(
        "fills a blank in with a blank",
        THERE,
        f"{KILLERS}::test_what_is_there_stays_when_blanks_are_filled_in",
        BLANKS,
        "allowed = {j: np.append(np.ones(c.values), 0.0)",
        "allowed = {j: np.append(np.ones(c.values), 1.0)",
    ),
    mutant(
        "drops the columns that the schema has not, the person's among them",
        THERE,
        PAIRS,
        BLANKS,
        "{name: table[name] for name in table.columns}, []",
        "{name: table[name] for name in table.columns if name in schema.names}, []",
    ),
    mutant(
        "says nothing of undeclared values",
        THERE,
        TOLD,
        BLANKS,
        "int(given.strange[:, j].sum()),",
        "0,",
    ),
    mutant(
        "accepts undeclared values although it was asked to refuse them",
        THERE,
        TOLD,
        BLANKS,
        "bad = given.strange | given.beyond",
        "bad = given.beyond",
    ),
    mutant(
        "takes a cell that cannot be read for a blank one",
        THERE,
        f"{IMPUTE}::test_a_cell_that_cannot_be_read_is_there_all_the_same",
        BLANKS,
        "return are_missing(column, values) & ~unread",
        "return are_missing(column, values)",
    ),
    mutant(
        "puts a value that the dtype cannot hold into it by cutting it off",
        THERE,
        f"{IMPUTE}::test_whole_numbers_of_a_narrow_type_become_wider_where_they_have_to",
        SPELLING,
        "if not isinstance(value, str) and number != value:",
        "if False:",
    ),
    mutant(
        "reads Parquet's types as pandas would have them",
        THERE,
        f"{IMPUTE}::test_parquet_keeps_its_types_and_values[age-int8]",
        PARQUET,
        "to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)",
        "to_pandas(ignore_metadata=True)",
    ),
    mutant(
        "puts apostrophes in front of the owner's own texts",
        THERE,
        PAIRS,
        OWNED,
        "own=True",
        "own=False",
    ),
    mutant(
        "turns codes with leading zeros into numbers",
        THERE,
        f"{IMPUTE}::test_one_cell_that_a_number_would_lose_keeps_its_column_text[007]",
        OWNED,
        '_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")',
        '_WHOLE = re.compile(r"-?[0-9]{1,18}")',
    ),
    mutant(
        "writes booleans as Python does, whatever the column has",
        SPELT,
        f"{IMPUTE}::test_a_truth_is_spelt_as_the_others_of_its_column[texts0-true|false]",
        SPELLING,
        "return [words[v] for v in cells]",
        "return [str(v) for v in cells]",
    ),
    mutant(
        "writes days the year first, whatever the column has",
        SPELT,
        f"{IMPUTE}::test_a_day_is_spelt_as_the_others_of_its_column[%m/%d/%Y]",
        SPELLING,
        "    if agreement(best)[0]:\n",
        "    if False:\n",
    ),
    # Rows that do not count
    mutant(
        "says nothing of rows that do not count",
        COUNTS,
        f"{COUNTED}::test_the_words",
        TALLY,
        "if counted == tally.fitting:",
        "if True:",
    ),
    mutant(
        "counts every row of a person",
        COUNTS,
        FEW,
        TALLY,
        "sum(min(rows, rows_per_person) * persons for",
        "sum(rows * persons for",
    ),
    mutant(
        "counts a person anew in every part of a file, on the screen",
        COUNTS,
        f"{COUNTED}::test_many_identifiers_are_put_together_on_the_way",
        TALLY,
        "distinct, places = np.unique(whose, return_inverse=True)",
        "distinct, places = whose, np.arange(len(whose))",
    ),
    mutant(
        "says that rows fit which do not say whose they are",
        COUNTS,
        FEW,
        "common/cohortium/drafting/checking.py",
        "nobodys = np.zeros(len(part), bool) if whose is None else ~whose.known",
        "nobodys = np.zeros(len(part), bool)",
    ),
    mutant(
        "writes exact counts into a log",
        COUNTS,
        f"{COUNTED}::test_nothing_of_it_leaves",
        OUTPUT,
        "    if logs.structured():\n        print_status(",
        "    if not lines:\n        print_status(",
    ),
    mutant(
        "mixes exact counts with the results of a simulation",
        COUNTS,
        f"{COUNTED}::test_nothing_of_it_leaves",
        SIMULATION,
        "        print_private(*lines)\n",
        "        print(*lines)\n",
    ),
)
