"""A person's events that change an answer by more than is accounted for, or that are counted as what they are not."""

from __future__ import annotations

from mutant import Mutant, mutant

CLIPPED = "common/cohortium/queries/clipped.py"
STEPS = "common/cohortium/queries/steps.py"
CONTEXTS = "common/cohortium/queries/contexts.py"
HISTOGRAMS = "common/cohortium/queries/event_histograms.py"
QUERIES = "tests/contracts/test_queries.py"
CROWD = f"{QUERIES}::TestContract::test_ten_thousand_rows_of_one_person_are_bounded"
REACH = f"{QUERIES}::TestContract::test_no_sum_reaches_further_than_it_says"
LIMITS = "tests/contracts/test_clipped.py"
CUSTODY = "tests/client/custodian/test_custodian.py"
LAWS = "tests/laws/test_counting_steps.py"
KNOWN = f"{LAWS}::test_what_is_known_is_what_one_would_say"
PERSON = f"{LAWS}::test_a_person_adds_what_happened_at_most_as_long_as_the_clip"
RULES = "tests/data/test_event_rules.py"
SETS = "tests/data/test_sets_of_rows.py"
MASKS = "tests/server/generators/test_event_masks.py"
EVENT_RULES = "common/cohortium/data/event_rules.py"
LINKED = "common/cohortium/data/linked.py"
ALONE = f"{LAWS}::test_a_sum_is_what_each_person_adds_alone"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "counts all that happened to a person, however much",
        "P26, P27",
        f"{CROWD}[any-steps]",
        CLIPPED,
        "np.minimum(often * self.grid, often * self._longest // above[whose])",
        "often * self.grid",
    ),
    mutant(
        "cuts each count to the length that all have together",
        "P26",
        f"{CROWD}[any-events]",
        CLIPPED,
        "np.minimum(often * self.grid, often * self._longest // above[whose])",
        "np.minimum(often * self.grid, self._longest // FINE)",
    ),
    mutant(
        "clips a person's counts table by table",
        "P26",
        f"{CROWD}[any-steps]",
        CLIPPED,
        "added = self._added(whose, cells, often.astype(np.int64), last - first)",
        "tables = np.searchsorted(np.cumsum(self.lengths), cells, side='right') + whose * len(self.lengths)\n"
        "            added = self._added(tables, cells, often.astype(np.int64), (last - first) * len(self.lengths))",
    ),
    mutant(
        "rounds what a person adds up",
        "P26, P30",
        f"{CROWD}[any-steps, short]",
        CLIPPED,
        "often * self._longest // above[whose])",
        "-(-often * self._longest // above[whose]))",
    ),
    mutant(
        "leaves the weights out of a person's length",
        "P26",
        f"{CROWD}[any-events]",
        CLIPPED,
        "squares = self._cell_weights[cells] * often**2",
        "squares = often**2",
    ),
    mutant(
        "takes the number of a person's steps for their length",
        "P26",
        f"{CROWD}[first-steps]",
        CLIPPED,
        "squares = self._cell_weights[cells] * often**2",
        "squares = self._cell_weights[cells] * often",
    ),
    mutant(
        "rounds a person's length to the nearest part",
        "P30",
        f"{PERSON}[steps]",
        CLIPPED,
        "            np.ceil(length * FINE).astype(np.int64) + 1\n",
        "            np.floor(length + 0.5).astype(np.int64) * FINE\n",
    ),
    mutant(
        "bounds a block of persons as if they were one person",
        "P27",
        f"{ALONE}[steps]",
        CLIPPED,
        "    return replace(found, persons=found.persons - first)",
        "    return replace(found, persons=(found.persons - first) // 2)",
    ),
    mutant(
        "looks up the columns of a person who stands elsewhere",
        "P27",
        f"{ALONE}[steps]",
        STEPS,
        "codes.values[first:][events[track].persons]",
        "codes.values[events[track].persons]",
    ),
    mutant(
        "says of a sum that it changes by the clip and forgets its grid",
        "P26",
        f"{CROWD}[any-steps, merged cells on a grid]",
        CLIPPED,
        "return self._longest / FINE * (1 + 1e-12)",
        "return self._longest / FINE / self.grid * (1 + 1e-12)",
    ),
    mutant(
        "makes masks for as many events as persons",
        "P26",
        f"{REACH}[steps, one table]",
        CLIPPED,
        "return persons * math.ceil(self.sensitivity)",
        "return persons * self.grid",
    ),
    mutant(
        "lets all events of a person count that codes hold",
        "P27",
        f"{LAWS}::test_more_events_than_count_change_nothing[steps]",
        CLIPPED,
        "    if counts.max(initial=0) <= most:",
        "    if counts.max(initial=0) > 0:",
    ),
    mutant(
        "lets squares grow beyond what a float has exactly",
        "P30",
        f"{LIMITS}::test_at_the_limits_a_persons_counts_are_still_exact",
        CLIPPED,
        "exact = squares < EXACT and ",
        "exact = ",
    ),
    mutant(
        "forgets in these limits that an event may be counted in many cells at once",
        "P30",
        f"{LIMITS}::test_what_was_seen_before_counts_as_often_as_it_may_in_that_limit",
        STEPS,
        'cells if one.context.kind == "seen" else 1',
        "1",
    ),
    mutant(
        "lets products grow beyond 64 bits",
        "P30",
        f"{LIMITS}::test_products_and_sums_of_a_block_are_below_what_is_exact",
        CLIPPED,
        "products = exact and self._longest * max(most) < LARGEST and ",
        "products = exact and ",
    ),
    mutant(
        "leaves what was seen before out of a person's length, but for one cell",
        "P26",
        f"{CROWD}[any-steps, what was seen]",
        CLIPPED,
        "squares = self._cell_weights[cells] * often**2",
        "squares = self._cell_weights[cells] * often**2 * (np.diff(whose * self.width + cells, prepend=-2) != 1)",
    ),
    mutant(
        "accepts a state that names no valid cells of steps",
        "P19",
        f"{QUERIES}::test_merged_cells_that_there_are_not_are_refused[-1.0-steps, merged]",
        STEPS,
        "return read_merged(numbers, self.cells_of_each, self.merged)",
        "return numbers.astype(np.int64)",
    ),
    mutant(
        "counts a person's first event as a step",
        "histories",
        f"{PERSON}[events]",
        HISTOGRAMS,
        "after = np.flatnonzero(one.follows)",
        "after = np.arange(len(one))",
    ),
    mutant(
        "takes the event itself for the one before",
        "histories",
        f"{KNOWN}[days]",
        CONTEXTS,
        "previous = values[after - 1].astype(np.int64)",
        "previous = values[after].astype(np.int64)",
    ),
    mutant(
        "counts the event's own cell as seen before",
        "histories",
        f"{KNOWN}[days]",
        CONTEXTS,
        "before = np.cumsum(here, axis=0) - here\n",
        "before = np.cumsum(here, axis=0)\n",
    ),
    mutant(
        "carries one person's sums over to the next",
        "P27",
        f"{KNOWN}[days]",
        CONTEXTS,
        "sums = so_far[after - 1] - np.repeat(so_far[starts] - counted[starts], lengths, axis=0)[after]",
        "sums = so_far[after - 1]",
    ),
    mutant(
        "carries over what the preceding person had seen",
        "P27",
        f"{KNOWN}[days]",
        CONTEXTS,
        "seen: BoolArray = before > np.repeat(before[starts], lengths, axis=0)",
        "seen: BoolArray = before > 0",
    ),
    mutant(
        "puts the rows of a set into the order of what they hold",
        "histories",
        f"{SETS}::test_which_row_comes_first_is_as_good_as_drawn",
        "common/cohortium/data/ordering.py",
        "found = people[whose.places]",
        "found = np.zeros(len(rows), np.uint64)",
    ),
    mutant(
        "lets the order in a file say which rows of a set count",
        "P27",
        f"{SETS}::test_no_order_in_the_file_changes_anything_and_a_person_is_their_own_rows",
        LINKED,
        "order = there[drawn_order(places[there], rows.chance[there])]",
        "order = there[np.argsort(places[there], kind='stable')]",
    ),
    mutant(
        "asks of sets how much time there was between rows",
        "histories",
        f"{SETS}::test_nothing_is_asked_of_time",
        "common/cohortium/queries/contexts.py",
        "return range(int(self.grid == 1), len(self.sizes))",
        "return range(len(self.sizes))",
    ),
    mutant(
        "lets one person's events forbid another's",
        "P27",
        f"{RULES}::test_nobodys_events_forbid_anothers",
        EVENT_RULES,
        "found: BoolArray = so_far > before",
        "found: BoolArray = so_far > 0",
    ),
    mutant(
        "forgets at one time in which order rules want events",
        "histories",
        f"{RULES}::test_at_one_time_events_stand_in_an_order_that_keeps_the_rules",
        LINKED,
        ", *table.ranks(held)[::-1]",
        "",
    ),
    mutant(
        "puts made-up events of one time into another order than real ones",
        "histories",
        f"{RULES}::test_made_up_events_of_one_time_stand_in_that_order_too",
        "common/cohortium/data/ordering.py",
        "*reversed(table.ranks(others)), ",
        "",
    ),
    mutant(
        "counts what a rule forbids among what is beyond the most",
        "histories",
        f"{RULES}::test_what_is_left_out_is_counted_on_the_screen_before_what_is_beyond_the_most",
        LINKED,
        "len(ranks), known, forbidden)",
        "len(ranks), known, 0)",
    ),
    mutant(
        "draws an event that leaves no room for those to come",
        "histories",
        f"{MASKS}::test_what_is_drawn_keeps_the_rules_and_has_as_many_events_as_it_should[5-all]",
        EVENT_RULES,
        "found: BoolArray = allowed & (self.left(allowed) >= to_come[:, None])",
        "found: BoolArray = allowed & (to_come[:, None] >= 0)",
    ),
    mutant(
        "forgets what was drawn when it draws the next event",
        "histories",
        f"{MASKS}::test_what_is_drawn_keeps_the_rules_and_has_as_many_events_as_it_should[5-some]",
        "server/cohortium_server/generators/event_masks.py",
        "self._allowed[:n] &= ~self.ban.forbids[single]",
        "self._allowed[:n] &= True",
    ),
    mutant(
        "releases what a rule forbids",
        "histories",
        f"{MASKS}::test_the_gate_lets_no_event_through_that_a_rule_forbids",
        "server/cohortium_server/gate.py",
        "if not unfit.any() and table.bans:",
        "if unfit.any() and table.bans:",
    ),
    mutant(
        "lets a first event be one that leaves no room for the others",
        "histories",
        f"{RULES}::test_a_first_event_that_leaves_no_room_is_an_only_one",
        "common/cohortium/data/events.py",
        'f"{self.rows_name}>={few + 2}"',
        'f"{self.rows_name}>={few + 3}"',
    ),
    mutant(
        "answers with noise alone from codes without the events that are asked about",
        "histories",
        f"{CUSTODY}::test_events_of_other_tables_than_the_studys_are_not_answered_from[kept0]",
        "client/cohortium_client/custodian/custodian.py",
        " or [one.values.shape[1] for one in codes.events] != steps:",
        ":",
    ),
    mutant(
        "lets a policy from before there were events allow all of them",
        "F2",
        "tests/client/custodian/test_policy.py::test_who_named_columns_before_there_were_events_has_allowed_none",
        "client/cohortium_client/custodian/policy.py",
        "        if self.events is None and self.columns is None:\n",
        "        if self.events is None:\n",
    ),
    mutant(
        "audits a study of events with canaries that have none",
        "histories",
        "tests/statistics/test_audit.py::test_a_study_whose_events_would_not_be_attacked_is_refused",
        "simulation/cohortium_simulation/audit/path.py",
        "    if study.schema.tables:\n",
        "    if not study.schema.columns:\n",
    ),
    mutant(
        "lets persons of events weigh the same, which they do not",
        "P27",
        "tests/study/test_event_studies.py::test_a_person_of_events_has_one_row[private-privacy1]",
        "common/cohortium/study/study.py",
        'if self.privacy.rows_per_person > 1 or self.privacy.equal_weight == "persons":',
        "if self.privacy.rows_per_person > 1:",
    ),
)
