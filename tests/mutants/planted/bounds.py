"""A person who changes an answer by more than is accounted for, or other persons' rows along with it."""

from __future__ import annotations

from mutant import Mutant, mutant

PERSONS = "common/cohortium/queries/contribution_bounding.py"
MARGINALS = "common/cohortium/queries/marginals.py"
COUNTS = "common/cohortium/queries/counts.py"
ENCODING = "common/cohortium/data/columns/encoding.py"
QUERIES = "tests/contracts/test_queries.py"
CROWD = f"{QUERIES}::TestContract::test_ten_thousand_rows_of_one_person_are_bounded"
KILLERS = "tests/mutants/test_killers.py"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "counts all rows of a person where it promises m",
        "P27",
        f"{CROWD}[any-pairs, three rows a person]",
        COUNTS,
        "self._count(at_most(codes, self.rows_per_person, randomness))",
        "self._count(codes)",
    ),
    mutant(
        "counts m + 1 rows of a person",
        "P9, P27",
        f"{CROWD}[first-pairs, three rows a person]",
        PERSONS,
        "kept[order[rank >= rows_per_person]] = False",
        "kept[order[rank > rows_per_person]] = False",
    ),
    mutant(
        "takes rows sorted by person for rows of different persons",
        "P27",
        f"{CROWD}[any-pairs, three rows a person]",
        PERSONS,
        "(persons[1:] > persons[:-1]).all()",
        "(persons[1:] >= persons[:-1]).all()",
    ),
    mutant(
        "forgets m in the sensitivity",
        "P27",
        f"{CROWD}[first-pairs, three rows a person]",
        COUNTS,
        "return self.rows_per_person * self.grid * math.sqrt(math.fsum(self.weights)) * (1 + 1e-12)",
        "return self.grid * math.sqrt(math.fsum(self.weights)) * (1 + 1e-12)",
    ),
    mutant(
        "forgets in the sensitivity that a row is in every table",
        "P26",
        f"{CROWD}[first-pairs]",
        COUNTS,
        "return self.rows_per_person * self.grid * math.sqrt(math.fsum(self.weights)) * (1 + 1e-12)",
        "return self.rows_per_person * self.grid * (1 + 1e-12)",
    ),
    mutant(
        "counts over merged cells that there are not",
        "P19",
        f"{QUERIES}::test_merged_cells_that_there_are_not_are_refused[-1.0-counts, merged]",
        MARGINALS,
        'read_merged(self._read["cells"], self.sizes, self.merged)',
        'self._read["cells"].astype(np.int64)',
    ),
    mutant(
        "takes weights of another sum than the noise is computed for",
        "P26",
        f"{QUERIES}::test_choices_that_would_cost_something_else_are_refused[other0]",
        MARGINALS,
        "return known and max(weights) > 0 and math.isclose(math.fsum(weights), math.fsum(self.weights), rel_tol=1e-12)",
        "return known and max(weights) > 0",
    ),
    mutant(
        "plans for the first of the weights that may be chosen",
        "P26",
        f"{QUERIES}::test_a_choice_of_weights_costs_no_more_than_was_planned",
        MARGINALS,
        "return self.choices if self.choices and not self.state else (self.weights,)",
        "return (self.weights,)",
    ),
    mutant(
        "chooses weights by a number that names none",
        "P19",
        f"{QUERIES}::test_a_choice_that_there_is_not_is_refused[0.5]",
        MARGINALS,
        "if number not in range(len(self.choices)):",
        "if not 0 <= number < len(self.choices):",
    ),
    mutant(
        "counts a table that has no weight in the sensitivity",
        "P26",
        f"{QUERIES}::test_a_table_without_a_weight_holds_noise_alone",
        MARGINALS,
        "return tuple(t for t, w in zip(self.tables, self.weights, strict=True) if w > 0)",
        "return self.tables",
    ),
    mutant(
        "counts a row in all wide groups after its own",
        "P26",
        f"{CROWD}[any-histograms]",
        "common/cohortium/queries/histograms.py",
        "return np.add.reduceat(counts, np.flatnonzero(np.diff(cells, prepend=-1)))",
        "return np.cumsum(np.add.reduceat(counts, np.flatnonzero(np.diff(cells, prepend=-1))))",
    ),
    mutant(
        "has as many cells in a table as the state says",
        "P19",
        f"{QUERIES}::test_merged_cells_are_counted_as_one",
        MARGINALS,
        "return self.merged or self.sizes",
        "return tuple(int(c.max()) + 1 for c in np.split(self.cells, np.cumsum(self.sizes)[:-1])) if self.state else self.merged or self.sizes",
    ),
    mutant(
        "rounds the shares of a person's rows up",
        "P30",
        "tests/laws/test_persons.py::test_every_person_has_all_units_and_no_row_two_more_than_another",
        PERSONS,
        "given[order] = units // rows + (rank < units % rows)",
        "given[order] = -(-units // rows)",
    ),
    mutant(
        "lets the row before decide what a row's units are",
        "P27",
        "tests/laws/test_persons.py::test_nobodys_units_or_rows_depend_on_another_person",
        PERSONS,
        "given[order] = units // rows + (rank < units % rows)",
        "given[order] = units // rows + (np.roll(rank, 1) < units % rows)",
    ),
    mutant(
        "takes rows without a person for one person's",
        "P27",
        "tests/client/custodian/test_custodian.py::test_rows_without_a_person_are_nobodys",
        "common/cohortium/data/columns/identifiers.py",
        "return None if text.lower() in MISSING_WORDS or not _is_text(text) else text",
        "return None if not _is_text(text) else text",
    ),
    mutant(
        "reads a column's bounds from the data",
        "P10",
        "tests/data/test_encoding.py::test_an_outlier_changes_neither_digest_nor_widths",
        "common/cohortium/data/columns/numeric.py",
        "index = self.axis.nearest(np.clip(np.where(finite, numbers, self.lower), self.lower, self.upper))",
        "low, high = numbers[finite].min(), numbers[finite].max()\n"
        "        index = self.axis.nearest((np.where(finite, numbers, low) - low) / (high - low) * self.upper)",
    ),
    mutant(
        "reads a column's categories from the data",
        "P10",
        f"{KILLERS}::test_a_category_means_the_same_whoever_else_is_there",
        ENCODING,
        "place = reader(column.categories)",
        "place = reader(sorted({category_key(v) for v in values.dropna()})[: len(column.categories)])",
    ),
    mutant(
        "draws numbers finer than the schema declares them",
        "P12",
        f"{KILLERS}::test_a_number_has_no_more_digits_than_the_schema",
        ENCODING,
        "numbers = column.numbers_at(index)",
        "numbers = column.numbers_at(index) + np.linspace(0, 0.5, len(index)) / 10**column.decimals",
    ),
    mutant(
        "fills a missing value with what other rows have",
        "P11",
        f"{KILLERS}::test_a_missing_value_means_the_same_whoever_else_is_there",
        "common/cohortium/data/encoding.py",
        "np.where(cells == INVALID, column.values if column.nullable else INVALID, cells)",
        "np.where(cells == INVALID, np.bincount(cells[cells >= 0], minlength=1).argmax(), cells)",
    ),
    mutant(
        "drops rows with missing values once there are many of them",
        "P11",
        f"{KILLERS}::test_a_missing_value_means_the_same_whoever_else_is_there",
        "common/cohortium/data/encoding.py",
        "np.where(cells == INVALID, column.values if column.nullable else INVALID, cells)",
        "np.where(cells == INVALID, column.values if 2 * (cells == INVALID).sum() < len(cells) else INVALID, cells)",
    ),
)
