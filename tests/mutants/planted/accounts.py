"""A cost that is reported as less than it is, and caps that let more through than they say."""

from __future__ import annotations

from mutant import Mutant, mutant

ACCOUNTING = "common/cohortium/privacy/accounting.py"
GUARANTEE = "common/cohortium/study/guarantee.py"
ACCOUNTS = "common/cohortium/ledger/accounts.py"
PLAN = "common/cohortium/study/plan.py"
POLICY = "client/cohortium_client/custodian/policy.py"
CUSTODY = "tests/client/custodian/test_custodian.py"
LAWS = "tests/laws/test_accounting.py"
PUBLIC = "tests/laws/test_guarantee.py"
CAP_OF_NOTHING = "tests/laws/test_ledger.py::test_a_cap_of_nothing_allows_nothing"
CHECK = """\
    if not (math.isfinite(epsilon) and math.isfinite(check) and 0 <= epsilon <= check * (1 + 1e-6) + 1e-9):
        raise _contradiction(f"{method} and Rényi DP")
"""
CONTRADICTED = f"{LAWS}::test_accountants_that_contradict_each_other_are_believed_neither"
EVERY_ROUND = f"{LAWS}::test_a_plan_counts_every_round_of_every_institution_a_person_is_in"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "does not check one accountant by the other",
        "P33",
        f"{CONTRADICTED}[pld_epsilon-0.5]",
        ACCOUNTING,
        CHECK,
        "",
    ),
    mutant(
        "takes the smaller of two contradictory accountants' costs",
        "P33",
        f"{CONTRADICTED}[rdp_epsilon-0.5]",
        ACCOUNTING,
        CHECK,
        "    epsilon = min(epsilon, check)\n",
    ),
    mutant(
        "claims a cost that is not a number",
        "P33",
        f"{CONTRADICTED}[pld_epsilon-nan]",
        ACCOUNTING,
        CHECK,
        '    if epsilon > check * (1 + 1e-6) + 1e-9:\n        raise _contradiction(f"{method} and Rényi DP")\n',
    ),
    mutant(
        "calibrates to noise that costs a thousandth more than epsilon",
        "P33",
        f"{LAWS}::test_what_is_found_is_what_bisection_alone_finds",
        "common/cohortium/privacy/calibration.py",
        "        if spent <= self._epsilon:",
        "        if spent <= 1.001 * self._epsilon:",
    ),
    mutant(
        "keeps nothing of delta for the noise sampler's own error",
        "P32",
        f"{LAWS}::test_a_part_of_delta_is_kept_for_the_sampler",
        ACCOUNTING,
        "    usable = delta * (1 - RESERVE)\n",
        "    usable = delta\n",
    ),
    mutant(
        "keeps nothing of delta for what convolution loses",
        "P33",
        f"{LAWS}::test_a_part_of_delta_is_kept_for_the_sampler",
        ACCOUNTING,
        "pld_epsilon(events, usable - lost)",
        "pld_epsilon(events, usable)",
    ),
    mutant(
        "does not check that the sampler's error fits into its part of delta",
        "P32",
        f"{LAWS}::test_an_epsilon_beyond_the_samplers_precision_is_refused",
        PLAN,
        "if draws * SLACK * (1 + math.exp(epsilon)) > RESERVE * study.privacy.delta:",
        "if draws < 0:",
    ),
    mutant(
        "counts one round of a phase",
        "P28",
        f"{EVERY_ROUND}[autoregressive, 3-1]",
        PLAN,
        "return repeated(self.answer_events, self.rounds)",
        "return self.answer_events",
    ),
    mutant(
        "counts the noise of H institutions as H times that of one",
        "P31, 3.2 (b)",
        f"{LAWS}::test_a_masked_sum_costs_g_answers_with_a_part_of_the_noise_each[1-ctgan]",
        PLAN,
        "return self.query.events(math.sqrt(self.honest) * self.multiplier)",
        "return self.query.events(self.honest * self.multiplier)",
    ),
    mutant(
        "forgets in the plan that a person may be in g institutions",
        "P25",
        f"{EVERY_ROUND}[sweep, 0-3]",
        PLAN,
        "    return repeated(charged(study, events), study.privacy.institutions_per_person)\n",
        "    return charged(study, events)\n",
    ),
    mutant(
        "forgets in the public's guarantee that a person may be in g institutions",
        "P25",
        f"{PUBLIC}::test_the_public_meets_the_noise_of_all_and_the_change_of_g[3-2]",
        GUARANTEE,
        "return repeated(tuple(parts), held_by * phase.rounds)",
        "return repeated(tuple(parts), phase.rounds)",
    ),
    mutant(
        "gives the public the whole noise of all for each institution of a person",
        "P25",
        f"{PUBLIC}::test_sums_of_gradients_carry_the_noise_of_all_before_the_public[ctgan-2]",
        GUARANTEE,
        "parts = (replace(e, noise_multiplier=e.noise_multiplier / math.sqrt(held_by)) for e in whole)",
        "parts = whole",
    ),
    mutant(
        "lets training cost what counting has left of nothing",
        "P28",
        f"{LAWS}::test_a_plan_counts_every_round_of_every_institution_a_person_is_in[autoregressive, 3-1]",
        PLAN,
        "    return composed(e for p in phases for e in person_events(study, p.events))\n",
        "    return composed(e for p in phases[-1:] for e in person_events(study, p.events))\n",
    ),
    mutant(
        "claims the noise of all institutions for training, too",
        "F2, P16",
        f"{PUBLIC}::test_training_is_no_cheaper_before_the_public[1]",
        GUARANTEE,
        "        return repeated(phase.events, held_by)\n",
        "        gained = math.sqrt(len(study.institutions)) / held_by\n"
        "        return tuple(replace(e, noise_multiplier=e.noise_multiplier * gained) for e in phase.events)\n",
    ),
    mutant(
        "claims against the coordinator what holds against the public",
        "T7",
        f"{PUBLIC}::test_the_public_gains_only_if_the_noise_of_all_is_near_enough_to_ideal",
        GUARANTEE,
        "_public_events(study, agreed, messages) if a == PUBLIC else messages for a",
        "_public_events(study, agreed, messages) for a",
    ),
    mutant(
        "claims the noise of all institutions wherever it would be less, without looking at the sampler's error",
        "P31",
        f"{PUBLIC}::test_the_public_gains_only_if_the_noise_of_all_is_near_enough_to_ideal",
        GUARANTEE,
        "return sums if less and _covered(study, agreed, cost(sums, delta).epsilon) else messages",
        "return sums if less else messages",
    ),
    mutant(
        "states an attack rate without the sampler's part",
        "P32",
        f"{PUBLIC}::test_the_samplers_part_of_delta_is_added_to_both_rates",
        ACCOUNTING,
        "    sampler = RESERVE * delta\n",
        "    sampler = 0.0\n",
    ),
    mutant(
        "checks a cap before the answer is counted, not after",
        "P9",
        f"{CUSTODY}::test_bad_input_42_a_cap_a_hair_below_the_cost_allows_nothing",
        ACCOUNTS,
        "        after = composed((*before, *events))\n",
        "        after = before\n",
    ),
    mutant(
        "lets a cap be passed by one in a thousand",
        "P9",
        f"{CUSTODY}::test_bad_input_42_a_cap_a_hair_below_the_cost_allows_nothing",
        ACCOUNTS,
        "if not total <= cap.epsilon:",
        "if not total <= cap.epsilon * 1.001:",
    ),
    mutant(
        "takes a cap of nothing for no cap",
        "P9",
        f"{CAP_OF_NOTHING}[population-0.0]",
        ACCOUNTS,
        "        if caps.population is not None:\n",
        "        if caps.population is not None and caps.population.epsilon:\n",
    ),
    mutant(
        "takes a cap that is not a number for no cap",
        "P9",
        f"{CAP_OF_NOTHING}[population-nan]",
        ACCOUNTS,
        "if not total <= cap.epsilon:",
        "if total > cap.epsilon:",
    ),
    mutant(
        "affords again what it could afford once",
        "P9",
        f"{CUSTODY}::test_bad_input_42_an_exhausted_cap_is_a_refusal_and_changes_nothing",
        ACCOUNTS,
        "if within(after, self._affordable.get((account, cap), ())):",
        "if within(composed(events), self._affordable.get((account, cap), ())):",
    ),
    mutant(
        "looks at the cap of a study and not at that of its population",
        "P8",
        f"{CUSTODY}::test_a_cap_counts_what_other_studies_spent",
        ACCOUNTS,
        "(population, None), events, caps.population)",
        "(population, study), events, caps.population)",
    ),
    mutant(
        "lets every study be repeated",
        "P21",
        f"{CUSTODY}::test_a_study_is_answered_once_unless_the_policy_lets_it_be_repeated",
        POLICY,
        "if not self.repeatable:",
        "if not self.repeatable and self.epsilon_per_population is None:",
    ),
)
