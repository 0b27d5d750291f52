"""Attacks that prove more or less than they say, and comparisons with rows that were seen before."""

from __future__ import annotations

from mutant import Mutant, mutant

FINDINGS = "common/cohortium/evaluation/attacks/findings.py"
TARGETS = "common/cohortium/evaluation/attacks/targets.py"
MEMBERSHIP = "common/cohortium/evaluation/attacks/membership.py"
SAMPLES = "common/cohortium/evaluation/samples.py"
SERVER = "server/cohortium_server/evaluation"
ATTACKS = "tests/evaluation/test_attacks.py"
COMPARING = "tests/evaluation/test_comparing.py"
COMPARE = "simulation/cohortium_simulation/compare"
EXPERIMENTS = "tests/simulation/test_compare.py"
SHOWN = "tests/server/evaluation/test_evaluated.py"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "takes the rate of an attack for the least it can be",
        "P23",
        f"{ATTACKS}::test_an_exact_mechanism_at_its_epsilon_stays_inside_and_one_beyond_is_found",
        FINDINGS,
        "_shown(self.members.low - delta, self.others.high)",
        "_shown(self.members.share - delta, self.others.share)",
    ),
    mutant(
        "judges each of many attacks as if it were the only one",
        "P23",
        f"{ATTACKS}::test_the_more_attacks_there_are_the_wider_is_each_interval",
        FINDINGS,
        "LEVEL / max(1, 2 * len(attacks))",
        "LEVEL / 2",
    ),
    mutant(
        "allows more than the guarantee, as an attacker may be wrong as often as they like",
        "P23",
        f"{ATTACKS}::test_what_is_allowed_is_the_bound_of_a_test_of_hypotheses",
        FINDINGS,
        "1 - math.exp(-e) * (1 - q - self.delta)",
        "1.0",
    ),
    mutant(
        "sets thresholds by the persons who are tested",
        "P23",
        f"{ATTACKS}::test_thresholds_are_set_by_persons_who_are_not_tested",
        TARGETS,
        "self.others.at(np.arange(half, len(self.others)))",
        "self.others.at(np.arange(len(self.others)))",
    ),
    mutant(
        "takes every row that is like a released one for a copy",
        "P23",
        f"{ATTACKS}::test_a_row_that_others_may_have_by_chance_is_no_copy",
        MEMBERSHIP,
        "found = {row.tobytes() for row in rows[rare]}",
        "found = {row.tobytes() for row in rows}",
    ),
    mutant(
        "forgets the guarantee that attacks are judged by",
        "P23",
        f"{ATTACKS}::test_an_evaluation_judges_by_the_guarantee_it_is_given",
        "common/cohortium/evaluation/evaluation.py",
        "judge(attacks, asked.guarantee)",
        "judge(attacks, None)",
    ),
    mutant(
        "compares real rows with persons who are among them",
        "P23",
        f"{COMPARING}::test_without_a_hold_out_half_of_the_persons_are_compared_with_and_nothing_is_attacked",
        SAMPLES,
        "return rows.at(first), rows.at(~first)",
        "return rows, rows.at(~first)",
    ),
    mutant(
        "counts all rows of a person, whatever the study counts",
        "P23",
        f"{SHOWN}::test_a_person_counts_with_as_many_rows_as_in_the_study",
        f"{SERVER}/comparing.py",
        "rows_each=counted",
        "rows_each=None",
    ),
    mutant(
        "lets everybody on the machine read what real rows say of a release",
        "P23",
        f"{SHOWN}::test_the_page_says_first_whose_it_is_runs_nothing_and_loads_nothing",
        f"{SERVER}/evaluated.py",
        "write_whole(written, self.html.encode())",
        "write_whole(written, self.html.encode(), 0o644)",
    ),
    mutant(
        "tests an experiment's generators on persons whom they were fitted to",
        "P23",
        f"{EXPERIMENTS}::test_persons_held_out_are_at_no_institution",
        f"{COMPARE}/running.py",
        "return self.table[~out], self.table[out]",
        "return self.table, self.table[out]",
    ),
    mutant(
        "charges the ledgers of whoever runs an experiment after it",
        "P23",
        f"{EXPERIMENTS}::test_a_run_is_a_whole_federation_and_leaves_nobodys_home",
        f"{COMPARE}/running.py",
        '                os.environ["COHORTIUM_HOME"] = before\n',
        "                pass\n",
    ),
    mutant(
        "takes runs on other rows for those of an experiment",
        "P23",
        f"{EXPERIMENTS}::test_runs_of_other_rows_or_another_test_are_not_taken_for_these[rows]",
        f"{COMPARE}/runs.py",
        "experiment.digest.encode() + rows",
        "experiment.digest.encode()",
    ),
    mutant(
        "lets everybody on the machine read an experiment's runs",
        "P23",
        f"{EXPERIMENTS}::test_runs_are_readable_by_their_owner_alone",
        f"{COMPARE}/runs.py",
        "os.O_APPEND, 0o600)",
        "os.O_APPEND, 0o644)",
    ),
)
