"""What a release claims: means that contradict its table, and what it says it carries."""

from __future__ import annotations

from mutant import Mutant, mutant

ANSWERS = "server/cohortium_server/release/answers/__init__.py"
BOUNDS = "server/cohortium_server/release/answers/bounds.py"
CARRIED = "server/cohortium_server/release/carried.py"
CARRYING = "common/cohortium/study/carrying.py"
PAIRS = "server/cohortium_server/release/page/pairs.py"
STYLE = "server/cohortium_server/release/page/report.css"
CONTEST = "server/cohortium_server/generators/contest.py"
FITTING = "server/cohortium_server/generators/fitting.py"
OF_CONTEST = "tests/server/generators/test_contest.py"
OF_SUMS = "tests/laws/test_bounds_of_sums.py"
OF_ANSWERS = "tests/server/release/test_answers.py"
OF_CARRIED = "tests/server/release/test_carried.py"
OF_REPORT = "tests/server/release/test_report.py"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "releases a fit where the columns by themselves are nearer",
        "gate",
        f"{OF_CONTEST}::test_where_tables_are_noise_around_independent_columns_these_are_released_mostly",
        FITTING,
        "    if contest.independent_wins:\n",
        "    if contest.independent_wins and len(tables) == 1:\n",
    ),
    mutant(
        "holds a fit against the tables that it was fitted to, and calls them held out",
        "gate",
        f"{OF_CONTEST}::test_what_is_released_instead_has_the_noised_columns",
        FITTING,
        "one, other = thinned(tables, rng) if chosen else (tables, tables)",
        "one, other = tables, tables",
    ),
    mutant(
        "releases independent columns although the fit is nearer to the target's tables",
        "gate",
        f"{OF_CONTEST}::test_the_gate_passes_the_winner_alone_and_says_which_it_was",
        CONTEST,
        "return self.everywhere > 0 and self.target >= 0",
        "return self.everywhere > 0",
    ),
    mutant(
        "looks for the targets' tables among those of single columns alone",
        "gate",
        f"{OF_CONTEST}::test_a_fit_that_tells_of_the_target_is_released_however_little_it_tells_of_other_pairs",
        CONTEST,
        "len(t.columns) > 1 and not set(targets)",
        "len(t.columns) == 1 and not set(targets)",
    ),
    mutant(
        "lets a release pass that lost to independent columns",
        "gate",
        f"{OF_CONTEST}::test_the_gate_passes_the_winner_alone_and_says_which_it_was",
        "server/cohortium_server/gate.py",
        "        independent == contest.independent_wins,\n",
        "        independent or not contest.held_out or contest.target < 0 or contest.everywhere > 0,\n",
    ),
    mutant(
        "lets a fit lose the share of a class",
        "gate",
        f"{OF_CONTEST}::test_a_share_of_a_class_is_what_was_measured",
        FITTING,
        "raked(fitted.detach().cpu().numpy(), sizes, single_columns(sizes, tables))",
        "fitted.detach().cpu().numpy()",
    ),
    mutant(
        "keeps single columns within six standard deviations of what was measured",
        "gate",
        "tests/laws/test_raking.py::test_a_raked_mixture_has_the_single_columns_that_were_measured",
        "server/cohortium_server/generators/raking.py",
        "table.shares - DOUBT * table.sigma",
        "table.shares - 3 * DOUBT * table.sigma",
    ),
    mutant(
        "bounds a sum by a combination that weighs a cell less than the sum does",
        "answers",
        f"{OF_SUMS}::test_without_noise_a_bound_holds_whatever_is_expected",
        BOUNDS,
        "    return np.maximum(missing, lowest), levels",
        "    return np.minimum(missing, 0.0), levels",
    ),
    mutant(
        "takes one standard deviation where the level asks for more",
        "answers",
        f"{OF_SUMS}::test_in_wide_bounds_it_is_much_narrower_than_least_squares_and_holds_at_its_rate",
        BOUNDS,
        "+ levels @ counted) + deviations * deviation",
        "+ levels @ counted) + deviation",
    ),
    mutant(
        "states less variance of a sum than counts at several resolutions leave",
        "answers",
        f"{OF_ANSWERS}::test_counts_at_all_levels_are_put_together_by_least_squares",
        "server/cohortium_server/release/answers/noised.py",
        "variance = v * (weights**2).sum(1) - v * (moved * weighed).sum(1)",
        "variance = v * (weights**2).sum(1) - 1.5 * v * (moved * weighed).sum(1)",
    ),
    mutant(
        "expects rows at the ends of a column, where a model makes them of noise",
        "answers",
        f"{OF_SUMS}::test_what_a_model_makes_of_noise_at_the_ends_is_not_expected_there",
        BOUNDS,
        "        inside = (cells >= first) & (cells < len(mass) - last)",
        "        inside = cells >= 0",
    ),
    mutant(
        "estimates a mean in wide bounds by least squares, as if counts could be negative",
        "answers",
        f"{OF_ANSWERS}::test_a_mean_in_wide_bounds_is_as_narrow_as_nonnegative_counts_allow",
        ANSWERS,
        "        by_itself = set(chosen) <= {j}\n",
        "        by_itself = False\n",
    ),
    mutant(
        "reports the released rows' mean although the noised tables contradict it",
        "answers",
        f"{OF_ANSWERS}::test_a_mean_of_rows_that_the_noised_tables_contradict_is_not_believed",
        ANSWERS,
        "        proposed = min(most, max(least, proposed))",
        "        proposed = float(proposed)",
    ),
    mutant(
        "reports a mean that contradicts the released rows although noise explains the difference",
        "answers",
        f"{OF_ANSWERS}::test_a_mean_is_that_of_the_released_rows_where_nothing_contradicts_them",
        ANSWERS,
        "0.0 if own is None else count * (own - mean))",
        "0.0)",
    ),
    mutant(
        "reports the mean of a handful of released rows",
        "answers",
        f"{OF_ANSWERS}::test_the_mean_of_a_few_released_rows_is_too_random_to_be_answered",
        ANSWERS,
        "        if len(table) >= AS_MANY * self.noised.rows:",
        "        if len(table):",
    ),
    mutant(
        "says that a class is carried whose rows noise hides",
        "carried",
        f"{OF_CARRIED}::test_a_class_that_noise_hides_is_not_carried_although_its_pairs_are",
        CARRIED,
        "    if noise > NOISE or not synthetic.sum() > 0:",
        "    if not synthetic.sum() > 0:",
    ),
    mutant(
        "says that a class is carried whose values the released rows have lost",
        "carried",
        f"{OF_CARRIED}::test_a_class_whose_amounts_the_rows_lost_is_not_carried",
        CARRIED,
        "measured / share) - noise <= FIT",
        "measured / share) - noise <= 1",
    ),
    mutant(
        "says that a class is carried whose presence is uncertain",
        "carried",
        f"{OF_CARRIED}::test_a_class_that_may_not_be_there_is_not_carried",
        CARRIED,
        "if share <= COUNTED * doubt or not _is_carried(",
        "if share > COUNTED * doubt and not _is_carried(",
    ),
    mutant(
        "says that a pair is carried that noise drowns",
        "carried",
        f"{OF_CARRIED}::test_a_pair_that_noise_drowns_is_not_carried",
        CARRIED,
        "    kept = noise <= NOISE and beyond <= FIT",
        "    kept = beyond <= FIT",
    ),
    mutant(
        "says that a pair is carried that the released rows miss",
        "carried",
        f"{OF_CARRIED}::test_a_pair_that_the_rows_miss_is_not_carried",
        CARRIED,
        "    kept = noise <= NOISE and beyond <= FIT",
        "    kept = noise <= NOISE",
    ),
    mutant(
        "says that a pair is carried which nobody measured",
        "carried",
        f"{OF_CARRIED}::test_what_no_noised_table_measures_is_neither_carried_nor_not",
        CARRIED,
        "        return PairVerdict(names, None)",
        "        return PairVerdict(names, True)",
    ),
    mutant(
        "promises before a study that its own budget carries everything",
        "carried",
        f"{OF_CARRIED}::test_fewer_rows_carry_less_and_a_larger_budget_carries_all",
        CARRYING,
        "    if times <= 1:",
        "    if times <= 1e9:",
    ),
    mutant(
        "expects the noise of one institution where several add theirs",
        "carried",
        f"{OF_CARRIED}::test_several_institutions_noise_is_expected_to_add_up",
        CARRYING,
        "        growth = math.sqrt(len(self.study.institutions))",
        "        growth = 1.0",
    ),
    mutant(
        "reports differences of more than all rows",
        "report",
        f"{OF_REPORT}::test_no_difference_is_more_than_all_rows",
        PAIRS,
        "    return Pair(columns, min(1.0, difference), min(1.0, noise))",
        "    return Pair(columns, difference, noise)",
    ),
    mutant(
        "lets the numbers of wide tables run off a telephone's screen",
        "report",
        f"{OF_REPORT}::test_numbers_of_wide_tables_stand_below_one_another_on_a_narrow_screen[sweep]",
        STYLE,
        "  table.broad { display: block; min-width: 0; }",
        "  table.broad { min-width: 860px; }",
    ),
)
