"""Second sums of a round, accounts that leave them out, and what is kept between the legs of masked sums."""

from __future__ import annotations

from mutant import Mutant, mutant

CUSTODIAN = "client/cohortium_client/custodian/custodian.py"
MASKED = "client/cohortium_client/custodian/masked.py"
SESSIONS = "client/cohortium_client/custodian/sessions.py"
POLICY = "client/cohortium_client/custodian/policy.py"
ACCOUNTS = "common/cohortium/ledger/accounts.py"
PLAN = "common/cohortium/study/plan.py"
MASKS = "server/cohortium_server/rounds/masks.py"
FOLDER_JOURNAL = "server/cohortium_server/rounds/folder_journal.py"
ROUNDS = "server/cohortium_server/rounds/rounds.py"
ACCOUNT = "server/cohortium_server/release/account.py"
EVIDENCE = "server/cohortium_server/release/evidence.py"
ATTEMPTS = "tests/client/custodian/test_attempts.py"
KEPT = "tests/client/custodian/test_sessions.py"
CAPS = "tests/laws/test_caps.py"
SUMS = "tests/server/rounds/test_secure_sum.py"
FORGED = f"{ATTEMPTS}::test_an_account_that_leaves_an_attempt_out_is_not_verified"
AGAIN = f"{ATTEMPTS}::test_what_is_revealed_again_is_the_same_and_another_attempt_is_refused_in_every_leg"
DATABASES = f"{KEPT}::test_every_database_that_is_kept_is_durable_and_overwrites_its_secrets"

_OPENINGS: tuple[Mutant, ...] = (
    mutant(
        "goes on with another attempt once it has revealed its shares",
        "4.2 R4",
        AGAIN,
        MASKED,
        "        if revealed - {request.attempt}:\n",
        "        if revealed - {request.attempt} and request.leg == 'advertise':\n",
    ),
    mutant(
        "reveals its shares in every attempt that is confirmed",
        "4.2 R4",
        f"{ATTEMPTS}::test_no_order_opens_two_sums_of_a_round[one after the other]",
        MASKED,
        "        if revealed - {request.attempt}:\n",
        "        if False:\n",
    ),
    mutant(
        "goes back to an attempt when a later one was masked",
        "4.2 R4",
        f"{ATTEMPTS}::test_no_order_opens_two_sums_of_a_round[both masked, then the first]",
        MASKED,
        "        if self.answered.last_attempt(request.round) > request.attempt:\n",
        "        if False:\n",
    ),
    mutant(
        "answers a round in as many attempts where nobody can drop out",
        "T5",
        f"{ATTEMPTS}::test_without_dropouts_a_round_has_one_attempt[advertise]",
        CUSTODIAN,
        "return MAX_ATTEMPTS if study.privacy.dropouts else 1",
        'return MAX_ATTEMPTS if study.privacy.trust == "secure-sum" else 1',
    ),
    mutant(
        "gives several messages of a round, with a noise each",
        "T5",
        "tests/client/custodian/test_custodian.py::test_bad_input_36_a_round_has_one_attempt[True]",
        CUSTODIAN,
        "return MAX_ATTEMPTS if study.privacy.dropouts else 1",
        "return MAX_ATTEMPTS",
    ),
    mutant(
        "begins a new attempt when it is started again",
        "T5",
        f"{ATTEMPTS}::test_a_coordinator_that_stops_after_any_exchange_opens_the_same_sum[4]",
        MASKS,
        "for attempt in range(before.attempt, MAX_ATTEMPTS):",
        "for attempt in range(before.attempt + bool(before.receipts), MAX_ATTEMPTS):",
    ),
    mutant(
        "gives an attempt up when somebody is silent",
        "T5",
        f"{SUMS}::test_where_more_are_silent_they_are_named_and_asked_again_for_the_same_bytes[confirm-1]",
        MASKS,
        "        if len(statements) < self._cohort.threshold and not _CONTRADICTED & set(refused.values()):\n",
        "        if False:\n",
    ),
    mutant(
        "forgets the receipts of what was given up",
        "P28",
        f"{ATTEMPTS}::test_every_attempt_is_charged_and_reported",
        MASKS,
        "given_up = (*begun.void, begun.receipts)",
        "given_up = (*begun.void, ())",
    ),
    mutant(
        "does not keep that attempts were given up",
        "P28",
        f"{ATTEMPTS}::test_an_attempt_under_way_is_read_as_it_was_written[begun0]",
        FOLDER_JOURNAL,
        'void = {"void": [_documents(r) for r in aggregate.void]} if aggregate.void else {}',
        "void: dict[str, Any] = {} if aggregate.void else {}",
    ),
)

_ACCOUNTS: tuple[Mutant, ...] = (
    mutant(
        "states what the plan costs, whatever was charged",
        "P28",
        f"{ATTEMPTS}::test_every_attempt_is_charged_and_reported",
        ROUNDS,
        "again[one.phase] += one.attempt",
        "again[one.phase] += 0",
    ),
    mutant(
        "states guarantees of the plan beside the cost of all attempts",
        "P28",
        f"{ATTEMPTS}::test_every_attempt_is_charged_and_reported",
        ACCOUNT,
        "guarantees(outcome.study, outcome.spent, outcome.masked)",
        "guarantees(outcome.study, outcome.plan, outcome.masked)",
    ),
    mutant(
        "leaves attempts that were given up out of the account",
        "P28",
        f"{ATTEMPTS}::test_every_attempt_is_charged_and_reported",
        ACCOUNT,
        "enumerate([*answered.void, answered.receipts])",
        "enumerate([answered.receipts], answered.attempt)",
    ),
    mutant(
        "verifies claims against the plan, whatever was opened",
        "6, manifest",
        f"{FORGED}[leaves the attempt out, and claims less]",
        EVIDENCE,
        "+= max(a.attempt for a in given)",
        "+= min(a.attempt for a in given if not a.opened) if any(not a.opened for a in given) else 0",
    ),
    mutant(
        "does not hold the manifest against the account",
        "6, manifest",
        f"{FORGED}[claims less in the manifest]",
        EVIDENCE,
        'if not _covers(manifest.get("guarantee"), manifest.get("guarantees"), study, spent):',
        "if not manifest:",
    ),
    mutant(
        "takes two sums of a round for one",
        "6, manifest",
        f"{FORGED}[says that both were opened]",
        EVIDENCE,
        "        if len(set(opened)) > 1:\n",
        "        if False:\n",
    ),
    mutant(
        "verifies the cost of all together, and nobody's claim",
        "6, manifest",
        f"{FORGED}[claims less towards one adversary]",
        EVIDENCE,
        "_at_least(claimed[a], cost(met, delta).epsilon, delta) for a, met in events.items()",
        "bool(claimed[a]) or bool(met) for a, met in events.items()",
    ),
)

_SESSIONS: tuple[Mutant, ...] = (
    mutant(
        "keeps secrets for a run that it could not pay for",
        "P9",
        f"{KEPT}::test_what_will_not_be_answered_leaves_nothing_behind[policy0-E_BUDGET-without dropouts]",
        CUSTODIAN,
        '            if request.leg in ("advertise", "share"):  # nothing',
        "            if request.leg is None:  # nothing",
    ),
    mutant(
        "opens as many runs as it is asked for",
        "A4",
        f"{KEPT}::test_so_many_runs_are_open_and_no_more",
        SESSIONS,
        "                if self.open_runs() >= self.most:\n",
        "                if self.open_runs() < 0:\n",
    ),
    mutant(
        "never forgets a run that nobody asks about",
        "A4",
        f"{KEPT}::test_room_is_made_for_a_new_run_by_those_whose_time_is_over",
        SESSIONS,
        "                self.expire()\n",
        "",
    ),
    mutant(
        "forgets a run although it is under way",
        "P6",
        f"{KEPT}::test_a_run_that_nobody_asks_about_is_forgotten_and_no_other",
        SESSIONS,
        '                self._use(place.partition("/")[0])\n',
        "",
    ),
    mutant(
        "leaves forgotten statements on the disk",
        "A4",
        f"{KEPT}::test_what_is_forgotten_is_on_the_disk_no_more[expire]",
        SESSIONS,
        '        self._db.execute("VACUUM")\n',
        "",
    ),
    mutant(
        "draws new secrets for a run that was answered under others",
        "P6",
        f"{KEPT}::test_a_run_that_was_answered_and_forgotten_is_over",
        MASKED,
        "        if not known:\n",
        "        if False:\n",
    ),
    mutant(
        "takes an older copy of its sessions for the newest",
        "P7",
        f"{KEPT}::test_an_older_copy_is_noticed[1]",
        SESSIONS,
        "seen.epoch != mark.epoch or seen.count > mark.count",
        "seen.epoch != mark.epoch",
    ),
    mutant(
        "takes another file that has said as much for its own",
        "P7",
        f"{KEPT}::test_another_file_that_has_said_as_much_is_not_taken_for_it",
        SESSIONS,
        "seen.epoch != mark.epoch or seen.count > mark.count",
        "seen.count > mark.count",
    ),
    mutant(
        "looks for an older copy only when it starts",
        "P7",
        f"{KEPT}::test_it_is_noticed_before_anything_is_said",
        SESSIONS,
        "            self._check_witness()\n            with self._transaction():\n",
        "            with self._transaction():\n",
    ),
    mutant(
        "lets the witness forget what was said",
        "P7",
        f"{KEPT}::test_an_older_copy_is_noticed[0]",
        SESSIONS,
        '                self._use(place.partition("/")[0])\n            self._testify()\n',
        '                self._use(place.partition("/")[0])\n',
    ),
    mutant(
        "does not hold its sessions against the ledger",
        "P7",
        f"{KEPT}::test_an_older_copy_with_its_witness_is_held_against_the_ledger[share]",
        MASKED,
        "        if known and self.study.privacy.dropouts:\n",
        "        if False:\n",
    ),
    mutant(
        "leaves it to the disk when a statement becomes durable",
        "5.1",
        DATABASES,
        SESSIONS,
        "            self._db = open_database(path)\n",
        '            self._db = open_database(path)\n            self._db.execute("PRAGMA synchronous = OFF")\n',
    ),
    mutant(
        "does not overwrite secrets that it forgets",
        "A4",
        DATABASES,
        SESSIONS,
        "PRAGMA secure_delete = ON",
        "PRAGMA secure_delete = OFF",
    ),
    mutant(
        "copies secrets into temporary files while it makes room",
        "A4",
        DATABASES,
        SESSIONS,
        '            self._db.execute("PRAGMA temp_store = MEMORY")',
        '            self._db.execute("PRAGMA temp_store = DEFAULT")',
    ),
    mutant(
        "draws mask secrets of 16 bits",
        "F1",
        f"{KEPT}::test_the_secrets_of_a_run_are_all_that_was_asked_of_the_operating_system",
        SESSIONS,
        "Secrets.draw(os.urandom(32))",
        "Secrets.draw(os.urandom(2) + bytes(30))",
    ),
    mutant(
        "uses 32 bits of the mask secrets it draws",
        "F1",
        f"{KEPT}::test_the_secrets_of_a_run_are_all_that_was_asked_of_the_operating_system",
        SESSIONS,
        "Secrets.draw(os.urandom(32))",
        "Secrets.draw(os.urandom(32)[:4] * 8)",
    ),
)

_CAPPED: tuple[Mutant, ...] = (
    mutant(
        "does not hold local answers against what all others together may learn",
        "P9",
        f"{CAPS}::test_a_hair_below_what_a_run_costs_nothing_is_begun[if all collude-local]",
        ACCOUNTS,
        "self._check_cap(where, (population, ALL_COLLUDING), if_all_collude or events, caps.if_all_collude)",
        "self._check_cap(where, (population, ALL_COLLUDING), if_all_collude, caps.if_all_collude)",
    ),
    mutant(
        "caps a study that may be repeated at the larger delta",
        "P9",
        f"{CAPS}::test_a_study_that_may_be_repeated_is_capped_at_the_smaller_delta[0.0001-local]",
        POLICY,
        "delta = min(study.privacy.delta, self.delta)",
        "delta = max(study.privacy.delta, self.delta)",
    ),
    mutant(
        "holds the first answer of a run against nothing but its own cost",
        "P9",
        f"{CAPS}::test_a_second_run_is_answered_if_both_are_within_the_cap[0.999999999-E_BUDGET-study-local]",
        ACCOUNTS,
        "after = composed((*before, *events))",
        "after = composed(events) if account[1] not in (None, ALL_COLLUDING) else composed((*before, *events))",
    ),
    mutant(
        "lets a masked sum's claim rest on the draws of one institution",
        "P32",
        f"{CAPS}::test_the_noise_of_every_institution_that_a_claim_relies_on_is_reckoned_with[secure-sum-5]",
        PLAN,
        "return len(study.institutions) + 1",
        "return 1",
    ),
    mutant(
        "forgets the draw that stands for the sum's own error",
        "P32",
        f"{CAPS}::test_the_noise_of_every_institution_that_a_claim_relies_on_is_reckoned_with[secure-sum with dropouts-5]",
        PLAN,
        "return len(study.institutions) + 1",
        "return len(study.institutions)",
    ),
)

MUTANTS = (*_OPENINGS, *_ACCOUNTS, *_SESSIONS, *_CAPPED)
