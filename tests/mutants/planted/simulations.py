"""Simulations whose institutions follow from rows, or that pass for federations; and sentences that the trust mode makes false."""

from __future__ import annotations

from mutant import Mutant, mutant

PARTITION = "simulation/cohortium_simulation/partition.py"
LAYOUT = "simulation/cohortium_simulation/layout.py"
TABLES = "simulation/cohortium_simulation/inputs.py"
EXPERIMENT = "simulation/cohortium_simulation/experiment.py"
STUDY = "common/cohortium/study/study.py"
WORDING = "common/cohortium/study/wording.py"
GUARANTEE = "common/cohortium/study/guarantee.py"
ROUNDS = "server/cohortium_server/rounds/rounds.py"
MANIFEST = "server/cohortium_server/release/manifest.py"
EVIDENCE = "server/cohortium_server/release/evidence.py"
REPORT = "server/cohortium_server/release/report.py"
BUDGET = "server/cohortium_server/release/page/budget.py"
VERIFY = "server/cohortium_server/cli.py"

ROWS = "tests/laws/test_nothing_from_rows.py"
MOVES = "tests/simulation/test_partition.py::test_nobody_moves_when_a_person_is_added"
KINDS = "tests/server/release/test_kinds.py"
RAN = "tests/server/release/test_what_ran.py"
WORDS = "tests/study/test_wording.py"
PUBLIC, KIND, SAID = "P2, a public study", "simulations are marked", "accurate wording"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "gives rows that nobody declared to an institution",
        PUBLIC,
        f"{ROWS}::test_a_value_that_nobody_declared_goes_nowhere[institutions]",
        PARTITION,
        "found = np.array([*(homes.get(category_key(value), NOWHERE) for value in distinct), NOWHERE], np.int64)\n",
        "found = np.array([*(homes.get(category_key(value), 0) for value in distinct), NOWHERE], np.int64)\n",
    ),
    mutant(
        "makes an institution of a value that nobody declared",
        PUBLIC,
        "tests/simulation/test_partition.py::test_by_column_has_the_declared_institutions_and_no_other",
        PARTITION,
        "    return _split(table, tuple(institutions), found[numbers])\n",
        "    more = [str(value) for value in distinct if category_key(value) not in homes]\n"
        "    found[found == NOWHERE] = len(institutions)\n"
        "    return _split(table, (*institutions, *more[:1]), found[numbers])\n",
    ),
    mutant(
        "leaves out a declared institution that has no rows",
        PUBLIC,
        "tests/simulation/test_partition.py::test_by_column_has_the_declared_institutions_and_no_other",
        PARTITION,
        "    return {name: table[homes == number] for number, name in enumerate(names)}\n",
        "    return {name: table[homes == number] for number, name in enumerate(names) if (homes == number).any()}\n",
    ),
    mutant(
        "assigns persons by their position in the table",
        PUBLIC,
        f"{MOVES}[iid, persons]",
        PARTITION,
        "    homes = _drawn(_identities(table, person), rng.bytes(16)) * len(names)\n",
        "    homes = rng.random(len(table)) * len(names)\n",
    ),
    mutant(
        "lets a row's place depend on the types of its columns",
        PUBLIC,
        "tests/simulation/test_partition.py::test_the_types_of_columns_say_nothing",
        PARTITION,
        "pd.util.hash_array(_words(table[name]))",
        "pd.util.hash_array(table[name].to_numpy())",
    ),
    mutant(
        "takes a number as an institution's name where the schema reads another value",
        PUBLIC,
        "tests/simulation/test_partition.py::test_a_column_is_read_as_the_schema_reads_it",
        PARTITION,
        "pd.factorize(normalized(_as_read(table[column], column, schema)))",
        "pd.factorize(normalized(table[column]))",
    ),
    mutant(
        "reports on standard output how many rows take part nowhere",
        PUBLIC,
        f"{ROWS}::test_persons_are_counted_that_go_nowhere_on_the_screen_alone",
        TABLES,
        '        print_status(\n            f"{left} of',
        '        print(\n            f"{left} of',
    ),
    mutant(
        "makes up institutions that do not say so in what they sign",
        KIND,
        f"{KINDS}::test_made_up_institutions_sign_that_they_are",
        EXPERIMENT,
        "institutions=known, simulated=True)",
        "institutions=known)",
    ),
    mutant(
        "leaves out of a study's digest that its institutions are made up",
        KIND,
        f"{KINDS}::test_studies_that_were_signed_before_keep_their_digests",
        STUDY,
        '        "simulated": study.simulated or None,',
        '        "simulated": None,',
    ),
    mutant(
        "calls a federation what custodians of its own process answered",
        KIND,
        f"{RAN}::test_what_answered_decides_and_no_option",
        ROUNDS,
        "if simulated or study.simulated else",
        "if study.simulated else",
    ),
    mutant(
        "calls a federation what Flower ran over made-up institutions",
        KIND,
        f"{RAN}::test_a_folder_of_made_up_institutions_is_a_simulation_whatever_runs_it",
        ROUNDS,
        "if simulated or study.simulated else",
        "if simulated else",
    ),
    mutant(
        "signs a simulation with the coordinator's key",
        KIND,
        f"{KINDS}::test_no_simulation_reaches_the_coordinators_key",
        MANIFEST,
        'b"cohortium simulation manifest 1\\n", SIGNERS[1])',
        'b"cohortium simulation manifest 1\\n", SIGNERS[0])',
    ),
    mutant(
        "signs a simulation in a federation's domain",
        KIND,
        f"{KINDS}::test_formats_and_domains_are_all_apart",
        MANIFEST,
        'b"cohortium simulation manifest 1\\n"',
        'b"cohortium release manifest 2\\n"',
    ),
    mutant(
        "leaves the kind out of what is compared with the format",
        KIND,
        f"{KINDS}::test_a_kind_that_is_not_its_formats_is_refused",
        MANIFEST,
        ' and body.get("kind", form.kind) == form.kind',
        "",
    ),
    mutant(
        "opens what made-up institutions have signed as a federation's release",
        KIND,
        f"{KINDS}::test_a_simulation_never_passes_for_a_federation[_signed_as]",
        EVIDENCE,
        'if study.simulated and kind_of(manifest) != "simulation":',
        "if False:",
    ),
    mutant(
        "keeps silent about the kind when a release is verified",
        KIND,
        f"{KINDS}::test_a_simulation_says_that_it_is_one",
        VERIFY,
        "        print_result(kind_words(kind))\n",
        "",
    ),
    mutant(
        "says of made-up institutions that they have signed",
        KIND,
        f"{KINDS}::test_a_simulation_says_that_it_is_one",
        VERIFY,
        'if kind == "simulation":',
        "if False:",
    ),
    mutant(
        "writes a federation's words at the head of every report",
        KIND,
        f"{KINDS}::test_a_simulation_says_that_it_is_one",
        REPORT,
        "kind_words=kind_words(facts.kind)",
        'kind_words=kind_words("federation")',
    ),
    mutant(
        "speaks of messages where sums are masked",
        SAID,
        f"{WORDS}::test_nothing_is_said_that_is_true_of_the_other_trust_mode_only[T = 1]",
        WORDING,
        "return self._sees_under_masks(adversary) if self.masked else self._sees_messages(adversary)",
        "return self._sees_messages(adversary)",
    ),
    mutant(
        "speaks of the full noise where institutions add shares",
        SAID,
        f"{WORDS}::test_nothing_is_said_that_is_true_of_the_other_trust_mode_only[T = 0]",
        WORDING,
        "        if not self.masked:\n            who = ",
        "        if True:\n            who = ",
    ),
    mutant(
        "speaks of masks where there are none",
        SAID,
        f"{WORDS}::test_nothing_is_said_that_is_true_of_the_other_trust_mode_only[five, local]",
        WORDING,
        '        if self.masked and not self.pooled:\n            return "Only these',
        '        if True:\n            return "Only these',
    ),
    mutant(
        "counts on the noise of institutions that may collude",
        SAID,
        f"{WORDS}::test_the_numbers_are_the_studys",
        WORDING,
        'return f"at least {self.honest} of',
        'return f"at least {self.least} of',
    ),
    mutant(
        "describes an institution's share of the noise as if it were all",
        SAID,
        f"{WORDS}::test_the_noise_of_a_count_is_described_as_what_it_is",
        BUDGET,
        '"a share of " if study.honest > 1 else ""',
        '""',
    ),
    mutant(
        "leaves the keys of masks out of what leaves",
        SAID,
        f"{WORDS}::test_masks_take_keys_and_with_dropouts_more",
        WORDING,
        "return (*BESIDE, keys)",
        "return BESIDE",
    ),
)
