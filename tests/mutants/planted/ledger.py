"""Charges that are skipped, lost, taken back or paid twice with."""

from __future__ import annotations

from mutant import Mutant, mutant

FILES = "common/cohortium/system/files.py"
LEDGER = "common/cohortium/ledger/store.py"
RECORDS = "common/cohortium/ledger/records.py"
CHAIN = "common/cohortium/ledger/chain.py"
LOCATION = "common/cohortium/ledger/location.py"
HISTORY = "common/cohortium/ledger/history.py"
DATABASE = "common/cohortium/ledger/database.py"
WIRE = "common/cohortium/federation/wire.py"
CUSTODIAN = "client/cohortium_client/custodian/custodian.py"
CUSTODY = "tests/client/custodian/test_custodian.py"
LAWS = "tests/laws/test_ledger.py"
KILLERS = "tests/mutants/test_killers.py"
KEEP = """\
            self._store(db, entry, message)
            failpoints.passed("ledger written")
        self._added(entry)
"""

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "charges nothing for a second attempt",
        "P28",
        "tests/client/custodian/test_attempts.py::test_every_attempt_is_charged_and_reported",
        CUSTODIAN,
        "            charged(study, phase.answer_events),\n",
        "            charged(study, phase.answer_events) if request.attempt == 0 else (),\n",
    ),
    mutant(
        "answers before its charge is durable",
        "5.1",
        f"{CUSTODY}::test_charge_and_message_become_durable_together_and_before_anything_leaves",
        DATABASE,
        '                self._db.execute("COMMIT")\n',
        "",
    ),
    mutant(
        "answers and takes its charge back",
        "P28",
        f"{CUSTODY}::test_charge_and_message_become_durable_together_and_before_anything_leaves",
        LEDGER,
        '            failpoints.passed("ledger written")\n',
        '            db.execute("ROLLBACK")\n            db.execute("BEGIN")\n',
    ),
    mutant(
        "keeps a message after its charge instead of together with it",
        "P6",
        f"{CUSTODY}::test_charge_and_message_become_durable_together_and_before_anything_leaves",
        LEDGER,
        KEEP,
        '            failpoints.passed("ledger written")\n'
        "        self._added(entry)\n"
        "        self._store(self._db, entry, message)\n",
    ),
    mutant(
        "refunds a study that was withdrawn",
        "P28",
        f"{KILLERS}::test_nothing_is_ever_refunded",
        HISTORY,
        "        self.heads.add(entry.hash)\n",
        "        self.heads.add(entry.hash)\n"
        "        if type(entry.record).__name__ == 'Withdrawal':\n"
        "            for population, study in [a for a in self.events if a[1] == entry.record.study]:\n"
        "                self.events[population, None].subtract(self.events.pop((population, study)))\n"
        "                self.events[population, None] = +self.events[population, None]\n",
    ),
    mutant(
        "leaves further attempts out of the account",
        "P28",
        "tests/client/custodian/test_attempts.py::test_every_attempt_is_charged_and_reported",
        HISTORY,
        "entry.record.study, entry.record.events\n",
        "entry.record.study, entry.record.events if entry.record.attempt == 0 else ()\n",
    ),
    mutant(
        "keeps the account of a run instead of a population's",
        "P8",
        f"{CUSTODY}::test_bad_input_42_an_exhausted_cap_is_a_refusal_and_changes_nothing",
        HISTORY,
        "population, study, events = entry.record.population,",
        "population, study, events = entry.record.run,",
    ),
    mutant(
        "begins a new ledger whenever it starts",
        "P8",
        f"{LAWS}::test_a_population_goes_on_where_it_stopped_and_others_are_separate",
        LEDGER,
        "            make_once(path, partial(write_database, begin=formats.BEGIN))\n",
        "            path.unlink(missing_ok=True)\n"
        "            self.witness.unlink(missing_ok=True)\n"
        "            make_once(path, partial(write_database, begin=formats.BEGIN))\n",
    ),
    mutant(
        "leaves it to the disk when a charge becomes durable",
        "5.1",
        f"{LAWS}::test_the_file_is_durable_and_its_owners_alone",
        FILES,
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = OFF",
    ),
    mutant(
        "lets others read the ledger",
        "A3",
        f"{LAWS}::test_the_file_is_durable_and_its_owners_alone",
        FILES,
        "    path.chmod(0o600)\n    with path.open",
        "    path.chmod(0o644)\n    with path.open",
    ),
    mutant(
        "lets two custodians hold one ledger",
        "5.1",
        f"{LAWS}::test_bad_input_41_two_custodians_cannot_hold_one_ledger",
        LOCATION,
        'lock = locks.hold(path.with_name(path.name + ".lock"))',
        'lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)',
    ),
    mutant(
        "does not check the hashes of the chain",
        "T9",
        f"{LAWS}::test_a_touched_field_is_found_and_named[charge-delta]",
        CHAIN,
        "before == previous and chain == entry_hash(number, record, at, before)",
        "before == previous",
    ),
    mutant(
        "does not check that the chain has no gap",
        "T9",
        f"{LAWS}::test_a_deleted_entry_is_found_and_named[2]",
        CHAIN,
        "sound = number == expected and before == previous and chain",
        "sound = chain",
    ),
    mutant(
        "does not ask the witness",
        "P7",
        f"{CUSTODY}::test_bad_input_41_nothing_is_answered_once_the_chain_is_broken",
        CHAIN,
        "        if not self.holds(seen or GENESIS):",
        "        if seen is None:",
    ),
    mutant(
        "makes a new ledger in the place of a lost one",
        "P7",
        f"{LAWS}::test_bad_input_41_a_deleted_ledger_is_not_replaced_by_an_empty_one[False]",
        LEDGER,
        "raise self.rolled_back()  # and no empty",
        "self.witness.unlink()  # and no empty",
    ),
    mutant(
        "does not look at the receipts it is shown",
        "P7",
        f"{CUSTODY}::test_bad_input_41_a_receipt_of_a_head_the_ledger_lacks",
        CUSTODIAN,
        "        self._check_receipts(request)\n",
        "",
    ),
    mutant(
        "sends a kept message again without checking that it is the one that was charged",
        "P6",
        f"{CUSTODY}::test_a_message_that_was_touched_is_not_sent",
        LEDGER,
        "if not row or hashlib.sha256(row[0][0]).hexdigest() != wanted:",
        "if not row or not wanted:",
    ),
    mutant(
        "takes a question at another model state for the same question",
        "P6, T5",
        f"{CUSTODY}::test_bad_input_34_an_attempt_with_another_state_is_a_replay",
        WIRE,
        "asked = [self.study, self.run, self.round, self.attempt, hashlib.sha256(self.state).hexdigest()]",
        "asked = [self.study, self.run, self.round, self.attempt]",
    ),
    mutant(
        "answers one attempt at every model state it is asked at",
        "T5",
        f"{CUSTODY}::test_bad_input_34_an_attempt_with_another_state_is_a_replay",
        RECORDS,
        'return f"{self.run}/{self.round}/{self.attempt}"',
        'return f"{self.run}/{self.round}/{self.attempt}/{self.request}"',
    ),
    mutant(
        "answers as many attempts as it is asked for",
        "T5",
        f"{CUSTODY}::test_bad_input_36_a_round_has_one_attempt[True]",
        CUSTODIAN,
        "if request.attempt >= most:",
        "if request.attempt < 0:",
    ),
    mutant(
        "answers rounds in any order",
        "T5",
        f"{CUSTODY}::test_bad_input_35_what_the_study_does_not_ask_is_refused[two rounds ahead]",
        CUSTODIAN,
        "if skips or goes_back or request.round >= plan(study).rounds:",
        "if request.round >= plan(study).rounds:",
    ),
    mutant(
        "begins a run whose end it cannot pay for",
        "P9",
        f"{CUSTODY}::test_a_run_whose_end_cannot_be_paid_is_not_begun",
        CUSTODIAN,
        "        if begun:\n",
        "        if begun or study:\n",
    ),
)
