"""Answers that are dropped too early, charged or answered anew afterwards, or lost without a trace."""

from __future__ import annotations

from mutant import Mutant, mutant

LEDGER = "common/cohortium/ledger/store.py"
CUSTODIAN = "client/cohortium_client/custodian/custodian.py"
KEEPING = "client/cohortium_client/custodian/keeping.py"
TIDYING = "server/cohortium_server/flower/tidying.py"
LAWS, KEPT, TIDY = (
    "tests/laws/test_compaction.py",
    "tests/client/custodian/test_keeping.py",
    "tests/server/flower/test_tidying.py",
)

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "charges an attempt anew whose answer was dropped",
        "P28",
        f"{LAWS}::test_a_compacted_ledger_proves_the_same",
        LEDGER,
        "        entry = self._known.attempts.get(charge.place)\n        if entry is None:\n",
        "        entry = self._known.attempts.get(charge.place)\n        if entry is None or self._message(entry) is None:\n",
    ),
    mutant(
        "says that an answer was never given once it is dropped",
        "P28",
        f"{KEPT}::test_after_its_end_a_run_is_neither_answered_nor_charged_again",
        LEDGER,
        '            raise _ended(entry.record.run if isinstance(entry.record, Charge) else "")\n',
        '            return b""\n',
    ),
    mutant(
        "takes a message that is lost for one that was dropped",
        "P6",
        f"{LAWS}::test_a_message_that_is_lost_and_not_dropped_is_still_found",
        LEDGER,
        '        if not row and self._read("SELECT 1 FROM dropped WHERE number = ?", entry.number):\n',
        "        if not row:\n",
    ),
    mutant(
        "believes whoever says that a run has ended before its last round",
        "P28",
        f"{KEPT}::test_a_run_that_goes_on_is_not_believed_to_have_ended",
        CUSTODIAN,
        "        if not self._answered_to_the_end(study, request.run):\n",
        "        if False:\n",
    ),
    mutant(
        "lets a masked run end before its shares are revealed",
        "P28",
        f"{KEPT}::test_a_masked_run_ends_after_its_sum_is_open[1]",
        CUSTODIAN,
        "        return done and any(number == last",
        "        return done or any(number == last",
    ),
    mutant(
        "drops the answers of every run when one has ended",
        "P28",
        f"{KEPT}::test_an_end_is_one_runs_and_one_studys",
        LEDGER,
        "if isinstance(record, Charge) and record.run in runs]",
        "if isinstance(record, Charge)]",
    ),
    mutant(
        "removes sums of a run that was never released",
        "5.1",
        f"{TIDY}::test_sums_go_so_many_days_after_their_release[11-failed]",
        TIDYING,
        "        if keep is not None and end.error is None and",
        "        if keep is not None and",
    ),
    mutant(
        "keeps the link from its database while all of it is made smaller",
        "5.1",
        f"{TIDY}::test_others_write_while_it_shrinks",
        TIDYING,
        "incremental_vacuum({_PIECE})",
        "incremental_vacuum",
    ),
)
