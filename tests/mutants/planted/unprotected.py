"""Studies without privacy (``mode = "none"``) that somebody signs, answers, runs or takes for a release."""

from __future__ import annotations

from mutant import Mutant, mutant

CONSENT = "common/cohortium/study/consent.py"
STUDY = "common/cohortium/study/study.py"
PLAN = "common/cohortium/study/plan.py"
GUARANTEE = "common/cohortium/study/guarantee.py"
POLICY = "client/cohortium_client/custodian/policy.py"
CUSTODIAN = "client/cohortium_client/custodian/custodian.py"
ANSWERABLE = "client/cohortium_client/custodian/answerable.py"
ROUNDS = "server/cohortium_server/rounds/rounds.py"
MANIFEST = "server/cohortium_server/release/manifest.py"
UNPROTECTED = "server/cohortium_server/release/unprotected.py"
EXPERIMENT = "simulation/cohortium_simulation/experiment.py"
FITTED = "simulation/cohortium_simulation/unprotected.py"
TESTS = "tests/simulation/test_not_private.py"

WHAT = "6, no privacy"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "signs a study without privacy",
        WHAT,
        f"{TESTS}::test_nobody_signs_it",
        CONSENT,
        "    require_signable(study)\n    require_key(",
        "    require_key(",
    ),
    mutant(
        "believes a signature under a study without privacy",
        WHAT,
        f"{TESTS}::test_whatever_is_shown_nobody_has_signed_it",
        CONSENT,
        'study.privacy.mode == "none" or study.schema.marks',
        "study.schema.marks",
    ),
    mutant(
        "lets a policy allow a study without privacy",
        WHAT,
        f"{TESTS}::test_no_policy_allows_it",
        POLICY,
        "        require_signable(study)\n        for rule",
        "        for rule",
    ),
    mutant(
        "caps what a study without privacy costs at what it says it costs",
        WHAT,
        f"{TESTS}::test_no_policy_allows_it",
        POLICY,
        "        require_privacy(study)  # there is no cap on what is not noised\n",
        "",
    ),
    mutant(
        "answers a study without privacy where signatures and policy let it pass",
        WHAT,
        f"{TESTS}::test_no_custodian_answers_it[asleep4]",
        ANSWERABLE,
        "    consent.require_signable(study)\n",
        "",
    ),
    mutant(
        "asks institutions for a study without privacy",
        WHAT,
        f"{TESTS}::test_no_coordinator_runs_it",
        ROUNDS,
        "    require_signable(study)\n",
        "",
    ),
    mutant(
        "opens ledgers for a simulated study without privacy",
        WHAT,
        f"{TESTS}::test_no_simulated_institution_runs_it",
        EXPERIMENT,
        "    consent.require_signable(study)\n",
        "",
    ),
    mutant(
        "answers a study that promises privacy without it",
        WHAT,
        f"{TESTS}::test_a_study_with_privacy_is_never_run_without",
        FITTED,
        '    if study.privacy.mode != "none":\n',
        "    if False:\n",
    ),
    mutant(
        "writes what came of a study that promises privacy as if it did not",
        WHAT,
        f"{TESTS}::test_a_study_with_privacy_is_never_run_without",
        UNPROTECTED,
        '    if outcome.study.privacy.mode != "none":\n',
        "    if False:\n",
    ),
    mutant(
        "has a number for what a study without privacy gives away",
        WHAT,
        f"{TESTS}::test_there_is_no_number_for_it",
        PLAN,
        "NO_PROMISE = Cost(math.inf, 1.0,",
        "NO_PROMISE = Cost(100.0, 1e-2,",
    ),
    mutant(
        "keeps silent where a study without privacy is asked for its promises",
        WHAT,
        f"{TESTS}::test_there_is_no_number_for_it",
        GUARANTEE,
        '    if study.privacy.mode == "none":\n',
        '    if study.privacy.mode == "none":\n        return ()\n    if False:\n',
    ),
    mutant(
        "opens for anybody what came of a study without privacy",
        WHAT,
        f"{TESTS}::test_it_is_opened_only_by_who_asks",
        MANIFEST,
        '    if manifest["format"] == UNPROTECTED and not not_private:\n',
        "    if False:\n",
    ),
    mutant(
        "leaves the mode out of what is signed",
        WHAT,
        f"{TESTS}::test_the_mode_is_part_of_what_the_digest_is_of",
        STUDY,
        'hidden = {"epsilon", "delta"} if privacy.mode == "none" else {"mode"}',
        'hidden = {"mode"}',
    ),
    mutant(
        "writes over a release what has no privacy",
        WHAT,
        f"{TESTS}::test_it_never_takes_the_place_of_a_release",
        UNPROTECTED,
        "    require_free_of_releases(out)\n    rng",
        "    require_free(out)\n    rng",
    ),
)
