"""Studies that are answered although not everybody has agreed to them, or not any more."""

from __future__ import annotations

from mutant import Mutant, mutant

CONSENT = "common/cohortium/study/consent.py"
CUSTODIAN = "client/cohortium_client/custodian/custodian.py"
AGREEMENTS = "client/cohortium_client/custodian/agreements.py"
ANSWERABLE = "client/cohortium_client/custodian/answerable.py"
POLICY = "client/cohortium_client/custodian/policy.py"
CUSTODY = "tests/client/custodian/test_custodian.py"
REQUIRE = "            consent.require_all(study, request.consents)\n"
EXPIRED = f"{CUSTODY}::test_bad_input_26_a_study_is_answered_until_it_expires"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "answers a study that nobody has signed",
        "T3, T11",
        f"{CUSTODY}::test_bad_input_26_a_study_signed[by nobody]",
        CUSTODIAN,
        REQUIRE,
        "",
    ),
    mutant(
        "asks by today's rules what was signed before there were others",
        "T3",
        "tests/study/test_study.py::test_a_study_that_names_no_edition_stays_of_the_first",
        "common/cohortium/study/study.py",
        'head.setdefault("edition", 1)',
        'head.setdefault("edition", EDITION)',
    ),
    mutant(
        "answers a study that only itself has signed",
        "T3, T11",
        f"{CUSTODY}::test_bad_input_26_a_study_signed[by us only]",
        CUSTODIAN,
        REQUIRE,
        "            if not consent.has_signed(study, self.identity.name, request.consents):\n    " + REQUIRE,
    ),
    mutant(
        "believes any signatures once it has seen good ones",
        "T3",
        f"{CUSTODY}::test_bad_input_26_a_study_signed[with an empty signature]",
        CUSTODIAN,
        "seen = (study.digest, tuple(sorted(request.consents.items())))",
        "seen: tuple[str, tuple[tuple[str, str], ...]] = (study.digest, ())",
    ),
    mutant(
        "takes any signature on a study's digest for a consent",
        "T3",
        f"{CUSTODY}::test_bad_input_26_a_study_signed[on a statement that is no consent]",
        CONSENT,
        "return _DOMAIN + canonical_json(",
        "return canonical_json(",
    ),
    mutant(
        "answers a study that names another key for it",
        "T3",
        f"{CUSTODY}::test_bad_input_26_a_study_that_names_another_key_for_us",
        ANSWERABLE,
        "    consent.require_key(study, identity.name, identity.public)\n",
        "",
    ),
    mutant(
        "answers a study in its folder to which its ledger has no consent",
        "T11",
        f"{CUSTODY}::test_a_study_in_the_folder_that_the_ledger_has_no_consent_to",
        CUSTODIAN,
        "if study is None or not self._agreed_to(self._ledger, study):",
        "if study is None:",
    ),
    mutant(
        "answers a study after its consent was withdrawn",
        "T9",
        f"{CUSTODY}::test_a_withdrawn_study_is_not_answered_not_even_again",
        ANSWERABLE,
        'agreed, withdrawn = "", digest',
        "withdrawn = digest",
    ),
    mutant(
        "goes back to a study of a lower serial",
        "6, rotation",
        f"{CUSTODY}::test_a_study_replaced_by_a_higher_serial_is_not_answered",
        ANSWERABLE,
        "case Consent(digest, study.name, serial) if serial >= highest:",
        "case Consent(digest, study.name, serial):",
    ),
    mutant(
        "lets a federation's study stand as a simulation's does",
        "6, rotation",
        "tests/laws/test_at_once.py::test_no_other_study_stands_for_itself",
        ANSWERABLE,
        "if not study.simulated or ledger.is_closed(study.digest):",
        "if ledger.is_closed(study.digest):",
    ),
    mutant(
        "answers a simulated study after its consent was withdrawn",
        "T9",
        "tests/laws/test_at_once.py::test_a_simulated_study_stands_for_itself_until_it_is_withdrawn",
        ANSWERABLE,
        "return bool(about) and isinstance(about[-1], Consent)",
        "return bool(about)",
    ),
    mutant(
        "signs a study of a lower serial",
        "6, rotation",
        "tests/client/custodian/test_agreements.py::test_a_lower_serial_is_not_signed",
        ANSWERABLE,
        "        require_newest(study, ledger)\n",
        "        pass\n",
    ),
    mutant(
        "signs without asking what the custodian will ask",
        "T11",
        "tests/client/custodian/test_agreements.py::test_what_the_policy_forbids_is_not_signed",
        AGREEMENTS,
        "    require_answerable(study, identity, policy, ledger)\n",
        "",
    ),
    mutant("answers an expired study", "T5", EXPIRED, ANSWERABLE, "    _require_time_left(study, ledger)\n", ""),
    mutant(
        "lets a clock that is set back prolong a study",
        "5.1",
        EXPIRED,
        ANSWERABLE,
        "latest = max(now, ledger.latest or now)",
        "latest = now",
    ),
    mutant(
        "answers without asking the policy",
        "F2",
        f"{CUSTODY}::test_a_policy_tightened_after_signing_is_the_one_that_counts[epsilon_per_study]",
        ANSWERABLE,
        "    policy.check(study)\n",
        "",
    ),
    mutant(
        "forgets the policy's columns",
        "F2",
        f"{CUSTODY}::test_a_policy_tightened_after_signing_is_the_one_that_counts[columns]",
        POLICY,
        '"columns": _if(bool(foreign),',
        '"columns": _if(False,',
    ),
    mutant(
        "answers before a person has let the run go ahead",
        "F2",
        f"{CUSTODY}::test_a_run_waits_until_a_person_lets_it_go_ahead",
        CUSTODIAN,
        "        self._check_approval(request)\n",
        "",
    ),
    mutant(
        "takes the approval of one run for another's",
        "F2",
        f"{CUSTODY}::test_a_run_waits_until_a_person_lets_it_go_ahead",
        CUSTODIAN,
        "all(e.record != wanted for e in self._ledger.entries())",
        "all(not isinstance(e.record, Approval) for e in self._ledger.entries())",
    ),
)
