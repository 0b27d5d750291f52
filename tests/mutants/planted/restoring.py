"""Ledgers that an old copy is put back as: with too few, for too little, or as if nothing had been answered since."""

from __future__ import annotations

from mutant import Mutant, mutant

LEDGER = "common/cohortium/ledger/store.py"
HISTORY = "common/cohortium/ledger/history.py"
ACCOUNTS = "common/cohortium/ledger/accounts.py"
COPIES = "common/cohortium/ledger/backup.py"
RESTORATION = "common/cohortium/ledger/restoration.py"
RESTORING = "client/cohortium_client/restoring.py"
TESTS = "tests/ledger/test_restore.py"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "presumes that nothing was spent since the backup",
        "T9",
        f"{TESTS}::test_the_cap_is_presumed_where_less_is_known",
        RESTORING,
        "epsilon = max(epsilon, _bound(policy.epsilon_per_population))",
        "epsilon = max(epsilon, 0.0)",
    ),
    mutant(
        "lets one person restore a ledger",
        "T9",
        f"{TESTS}::test_an_older_backup_needs_two_persons",
        RESTORATION,
        "SIGNERS = 2",
        "SIGNERS = 1",
    ),
    mutant(
        "lets any two keys restore a ledger",
        "T9",
        f"{TESTS}::test_an_older_backup_needs_two_persons",
        RESTORING,
        "[key for key in institution.file.restorers if key in signed.signers]",
        "list(signed.signers)",
    ),
    mutant(
        "restores another backup than was signed for",
        "T9",
        f"{TESTS}::test_a_request_is_about_one_backup",
        RESTORING,
        "if replace(request, presumed=wanted.presumed) != wanted:",
        "if request.institution != wanted.institution:",
    ),
    mutant(
        "takes a smaller presumption than may have been spent",
        "T9",
        f"{TESTS}::test_a_request_ages_with_what_it_is_about",
        RESTORING,
        "    if not request.presumed.covers(wanted.presumed):\n",
        "    if request.presumed.delta != wanted.presumed.delta:\n",
    ),
    mutant(
        "believes a witness that is older than the backup",
        "T9",
        f"{TESTS}::test_a_witness_older_than_the_backup_proves_nothing",
        RESTORING,
        "return _witnessed(institution) == backup.head() and",
        "return backup.holds(_witnessed(institution)) and",
    ),
    mutant(
        "forgets what a ledger spent that had a life of its own",
        "T9",
        f"{TESTS}::test_a_ledger_with_a_life_of_its_own_is_added",
        RESTORING,
        "epsilon + there.epsilon, colluding + there.if_all_collude, 2 * delta",
        "epsilon, colluding, delta",
    ),
    mutant(
        "presumes nothing where no cap bounded what colluders learned",
        "4.5",
        f"{TESTS}::test_without_a_cap_nothing_bounds_what_all_others_may_have_learned",
        RESTORING,
        "return math.inf if cap is None else cap",
        "return 0.0 if cap is None else cap",
    ),
    mutant(
        "spends the whole delta a second time after a restoration",
        "P32",
        f"{TESTS}::test_the_events_have_what_is_left_of_delta",
        RESTORATION,
        "rest = math.nextafter(delta - before, 0.0)",
        "rest = delta if delta > before else 0.0",
    ),
    mutant(
        "remembers as affordable what was so before a restoration",
        "P28",
        f"{TESTS}::test_what_was_affordable_before_is_looked_at_again",
        ACCOUNTS,
        "            self._affordable.clear()",
        "            self._affordable.copy()",
    ),
    mutant(
        "answers a study again whose consent was lost with its answer",
        "P28",
        f"{TESTS}::test_no_study_of_before_is_answered",
        HISTORY,
        "self.closed |= self.consented | set(restoration.request.studies)",
        "self.closed |= self.consented",
    ),
    mutant(
        "keeps the masks of runs that were under way",
        "4.2",
        f"{TESTS}::test_masks_of_runs_under_way_are_forgotten",
        RESTORING,
        "            remove_sessions(institution.sessions_file, institution.sessions_witness)",
        "            institution.sessions_file.touch()",
    ),
    mutant(
        "reads a restoration that one person signed",
        "T9",
        f"{TESTS}::test_a_restoration_of_one_is_none[keys0]",
        RESTORATION,
        "return head == self.request.backup and len(self.signers) >= SIGNERS",
        "return head == self.request.backup and len(self.signatures) >= 1",
    ),
    mutant(
        "leaves a lost ledger's log beside the restored one",
        "5.1",
        f"{TESTS}::test_a_log_of_the_lost_ledger_never_reaches_the_restored_one",
        COPIES,
        '_BESIDE = ("-wal", "-shm", "")',
        '_BESIDE = ("",)',
    ),
    mutant(
        "opens a ledger whose restoring was broken off",
        "5.1",
        f"{TESTS}::test_while_a_ledger_is_replaced_nobody_opens_the_old_one_or_begins_another[restore begun]",
        LEDGER,
        "            if pending(path).exists():\n",
        "            if pending(path).is_dir():\n",
    ),
)
