"""Values that become others without a word: codes merged, numbers off their grid, placeholders among days."""

from __future__ import annotations

from mutant import Mutant, mutant

CATEGORIES = "common/cohortium/data/columns/categories.py"
DRAFT = "common/cohortium/drafting/draft.py"
GRIDS = "common/cohortium/data/columns/grids.py"
LATTICES = "common/cohortium/drafting/lattices.py"
MISFITS = "common/cohortium/data/misfits.py"
MOMENTS = "common/cohortium/data/columns/moments.py"
PLACEHOLDERS = "common/cohortium/drafting/placeholders.py"
SCHEMA = "common/cohortium/data/schema.py"
SPREADING = "common/cohortium/data/columns/dequantization.py"
STYLES = "common/cohortium/drafting/datestyles.py"
VALUES = "common/cohortium/data/columns/values.py"
CONDITIONS = "common/cohortium/data/conditions/parsing.py"
TESTS = "tests/drafting/test_values.py"
LAWS = "tests/laws/test_grids.py"
CODES = f"{TESTS}::test_codes_are_kept_apart"
KEPT = "values as written"
DRAFTED = "P10, a draft"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "takes the code 401.0 for 401",
        KEPT,
        f"{TESTS}::test_codes_are_kept_apart_in_every_source[csv]",
        CATEGORIES,
        '    return unicodedata.normalize("NFC", str(value)).strip()\n',
        '    return unicodedata.normalize("NFC", str(value)).strip().removesuffix(".0")\n',
    ),
    mutant(
        "drafts codes that are one number in two spellings as numbers",
        KEPT,
        f"{CODES}[icd of digits]",
        DRAFT,
        "return len(set(numbers)) < len(numbers) or signed",
        "return signed",
        ("or few or _are_ragged(shared)", "or few"),
    ),
    mutant(
        "drops a trailing zero of a code",
        KEPT,
        f"{CODES}[icd with other zeros]",
        DRAFT,
        " or few or _are_ragged(shared)",
        " or few",
    ),
    mutant(
        "does not report a code that is only like a category",
        KEPT,
        f"{TESTS}::test_check_reports_codes_that_are_only_alike",
        MISFITS,
        "return {ALIKE: np.array([*alike, False])[numbered]}",
        "return {}",
    ),
    mutant(
        "rounds numbers below a millionth to nothing",
        KEPT,
        f"{TESTS}::test_small_numbers_are_kept_to_their_digits",
        "common/cohortium/drafting/numbers.py",
        "kept = decimals_that_tell(facts, min(needed, most), special)",
        "kept = decimals_that_tell(facts, min(needed, MAX_DECIMALS), special)",
    ),
    mutant(
        "does not report what it rounds",
        KEPT,
        f"{TESTS}::test_check_reports_what_is_rounded_and_where",
        MISFITS,
        "ROUNDED: inside & off}",
        "ROUNDED: off & ~off}",
    ),
    mutant(
        "reports the first row of a part as that of the file",
        KEPT,
        f"{TESTS}::test_places_are_counted_over_parts",
        "common/cohortium/drafting/checking.py",
        "x + y.after(a.rows) for",
        "x + y for",
    ),
    mutant(
        "clips a number that is infinite to the bound",
        KEPT,
        f"{TESTS}::test_infinite_numbers_are_missing_and_reported",
        "common/cohortium/data/columns/numeric.py",
        "finite = np.isfinite(numbers)",
        "finite = ~np.isnan(numbers)",
    ),
    mutant(
        "clips a special value to the bounds",
        KEPT,
        f"{LAWS}::test_special_values_have_cells_of_their_own_wherever_they_lie",
        "common/cohortium/data/columns/numeric.py",
        "rtol=_SAME, atol=0.0), self.grid + k, index)",
        "rtol=_SAME, atol=0.0), index, index)",
    ),
    mutant(
        "draws a special value where it draws a number",
        KEPT,
        f"{LAWS}::test_no_bin_gives_a_special_value",
        "common/cohortium/data/columns/numeric.py",
        "return np.sort(np.append(self.point_indices[: len(self.points)], self._shadows))",
        "return np.sort(self.point_indices[: len(self.points)])",
    ),
    mutant(
        "takes special values for part of a range",
        KEPT,
        f"{LAWS}::test_ranges_leave_special_values_out_and_names_select_them",
        CONDITIONS,
        "first, last = 0, scale_of(column) - 1\n    if wanted.lower",
        "first, last = 0, scale_of(column) + len(getattr(column, 'special', ())) - 1\n    if wanted.lower",
    ),
    mutant(
        "takes two points for one where the grid does not tell them apart",
        KEPT,
        f"{LAWS}::test_what_a_grid_cannot_tell_apart_is_refused[{{'points': (0.5,)}}]",
        "common/cohortium/data/columns/numeric.py",
        "    if any(not _on_grid(column, point) for point in column.points):",
        "    if any(not column.lower <= point <= column.upper for point in column.points):",
    ),
    mutant(
        "puts the lower number for one that is nearer to the next",
        KEPT,
        f"{LAWS}::test_the_nearest_number_is_put_for_one_between_two",
        GRIDS,
        "return self.index(numbers).round().astype(np.int64)",
        "return (self.index(numbers) + 1e-9).astype(np.int64)",
    ),
    mutant(
        "reads single precision bit by bit",
        KEPT,
        f"{TESTS}::test_numbers_of_single_precision_have_their_decimals[float]",
        VALUES,
        "distinct.astype(str).astype(np.float64)",
        "distinct.astype(np.float64)",
    ),
    mutant(
        "loses the endings of prices",
        KEPT,
        f"{TESTS}::test_lattices_are_kept[prices in .49, .95 and .99]",
        LATTICES,
        "_calendar(seen, decimals) or _endings(seen, decimals) or",
        "_calendar(seen, decimals) or",
    ),
    mutant(
        "sees steps where there is chance",
        KEPT,
        f"{TESTS}::test_no_lattice_is_seen_by_chance",
        LATTICES,
        "* math.log10(step) - chance >= SURE",
        "* math.log10(step) - chance >= 0.3",
        ("- int(persons[~kept].sum())", "* 20"),
    ),
    mutant(
        "writes down an ending that few persons have",
        DRAFTED,
        f"{TESTS}::test_an_ending_of_few_persons_is_not_written_down",
        LATTICES,
        "seen.persons) >= seen.least",
        "seen.persons) >= 1",
    ),
    mutant(
        "writes down a special value that few persons have",
        DRAFTED,
        f"{TESTS}::test_a_code_that_few_have_is_shown_and_not_written_down",
        "common/cohortium/drafting/numbers.py",
        "may_stand(candidates)].tolist() if facts.numbered[x] >= RARE}",
        "may_stand(candidates)].tolist()}",
        ("apart = stand_apart(may, low, high, RARE)", "apart = stand_apart(may, low, high, 1)"),
    ),
    mutant(
        "stretches the years to a placeholder day",
        KEPT,
        f"{TESTS}::test_placeholder_days_are_values_of_their_own",
        "common/cohortium/drafting/facts.py",
        "moment is not None and placeholder_of(moment) is None for",
        "moment is not None for",
    ),
    mutant(
        "drops a column of days for one cell with nanoseconds",
        KEPT,
        f"{TESTS}::test_one_odd_cell_drops_no_column[2021-03-12 10:00:00.123456789]",
        MOMENTS,
        '    words = _words(values).str.replace(r"(:\\d\\d)[.,]\\d+", r"\\1", regex=True)\n',
        "    words = _words(values)\n",
        ('    if read.dt.unit != "ns" or not _UNIT_FOLLOWS:\n', "    if read.dt.unit:\n"),
    ),
    mutant(
        "guesses that the month comes first",
        KEPT,
        f"{TESTS}::test_what_is_unclear_is_asked_in_draft_and_check[neither]",
        STYLES,
        'for f in ("day", "month") if order[f] >= least), None)',
        'for f in ("day", "month") if order[f] >= least), "month")',
    ),
    mutant(
        "does not ask in the check which comes first",
        KEPT,
        f"{TESTS}::test_what_is_unclear_is_asked_in_draft_and_check[neither]",
        MISFITS,
        "return {} if column.format else {UNCLEAR: unclear(with_blanks(column, values))}",
        "return {}",
    ),
    mutant(
        "writes what older schemas do not say, so that their digests change",
        KEPT,
        f"{LAWS}::test_legacy_grids_have_the_cells_they_had",
        SCHEMA,
        "changed = {k: v for k, v in given.items() if v != _DEFAULTS[type(column)].get(k, MISSING)}",
        'changed = {k: v for k, v in given.items() if k == "special" or v != _DEFAULTS[type(column)].get(k, MISSING)}',
    ),
)
