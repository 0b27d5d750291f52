"""Clocks that are set back, or were wrong once, by which somebody would gain; and checks that are green all the same."""

from __future__ import annotations

from mutant import Mutant, mutant

LEDGER = "common/cohortium/ledger/store.py"
ACCOUNTS = "common/cohortium/ledger/accounts.py"
HISTORY = "common/cohortium/ledger/history.py"
AMENDMENT = "common/cohortium/ledger/amendment.py"
AMENDING = "client/cohortium_client/custodian/amending.py"
ANSWERABLE = "client/cohortium_client/custodian/answerable.py"
EXPIRY = "common/cohortium/study/expiry.py"
ROUNDS = "server/cohortium_server/rounds/rounds.py"
ASKING = "server/cohortium_server/rounds/asking.py"
PREFLIGHT = "client/cohortium_client/preflight.py"
FIT_REPORT = "client/cohortium_client/commands/fit_report.py"
LAWS = "tests/laws/test_amendments.py"
TRUTH = "tests/client/commands/test_truth.py"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "gives back what was spent at a moment that was wrong",
        "5.1",
        f"{LAWS}::test_whatever_clocks_do_spending_only_grows_and_nothing_expired_comes_back",
        HISTORY,
        "        self.amended |= set(amendment.entries)\n",
        "        self.amended |= set(amendment.entries)\n        self.events.clear()\n",
    ),
    mutant(
        "lets an attempt be made again that was answered at a moment that was wrong",
        "5.1",
        f"{LAWS}::test_whatever_clocks_do_spending_only_grows_and_nothing_expired_comes_back",
        HISTORY,
        "        self.amended |= set(amendment.entries)\n",
        "        self.amended |= set(amendment.entries)\n"
        "        self.attempts = {k: e for k, e in self.attempts.items() if e.number not in self.amended}\n",
    ),
    mutant(
        "opens a study again that had expired, once the clock is amended",
        "5.1",
        f"{LAWS}::test_whatever_clocks_do_spending_only_grows_and_nothing_expired_comes_back",
        HISTORY,
        "        self.ended |= self.consented - set(amendment.kept)\n",
        "",
    ),
    mutant(
        "takes an expired study for one that was kept when a clock is amended",
        "5.1",
        f"{TRUTH}::test_a_clock_that_is_set_back_and_amended_opens_no_expired_study",
        AMENDING,
        "if d in signed and not has_expired(study, latest)}",
        "if d in signed and not has_expired(study, now)}",
    ),
    mutant(
        "keeps a study whose file was put aside while a clock was amended",
        "5.1",
        f"{TRUTH}::test_a_study_that_was_put_aside_meanwhile_has_ended_all_the_same",
        AMENDING,
        "    kept = {d for d,",
        "    kept = {d for d in signed if d not in studies} | {d for d,",
    ),
    mutant(
        "amends moments that nobody has signed to be wrong",
        "T9",
        f"{LAWS}::test_an_amendment_is_signed_for_one_chain_and_day",
        AMENDMENT,
        "return right and signed_by(self.key, self.signature, _statement(self))",
        "return right",
    ),
    mutant(
        "takes an amendment of another chain",
        "T9",
        f"{LAWS}::test_an_amendment_is_signed_for_one_chain_and_day",
        AMENDMENT,
        "right = self.head == head and at[:10]",
        "right = at[:10]",
    ),
    mutant(
        "amends moments that lie behind the clock",
        "5.1",
        f"{LAWS}::test_an_amendment_is_signed_for_one_chain_and_day",
        AMENDMENT,
        "moments[n - 1] > at for n",
        "bool(moments[n - 1]) for n",
    ),
    mutant(
        "amends a clock whatever day it is said to be",
        "5.1",
        f"{LAWS}::test_an_amendment_is_signed_for_one_chain_and_day",
        AMENDMENT,
        "self.head == head and at[:10] == self.today and bool",
        "self.head == head and bool",
    ),
    mutant(
        "lets a version that knows no amendments open a ledger with one",
        "5.1",
        f"{LAWS}::test_a_version_that_knows_no_amendments_refuses_the_file",
        LEDGER,
        "            formats.mark(db, formats.NEWER)\n",
        "",
    ),
    mutant(
        "counts days by the zone of whoever asks",
        "5.1",
        f"{LAWS}::test_a_day_ends_when_it_ends_in_utc",
        EXPIRY,
        "moment.astimezone(UTC).date() > study.expires",
        "moment.date() > study.expires",
    ),
    mutant(
        "orders the rounds of a study that has expired",
        "F2",
        f"{TRUTH}::test_an_expired_study_is_refused_at_every_step",
        ROUNDS,
        "    require_unexpired(this.study)\n",
        "",
    ),
    mutant(
        "reports a run as resumable that never is",
        "accurate wording",
        f"{TRUTH}::test_a_run_that_no_waiting_mends_does_not_say_that_it_can_be_resumed",
        ASKING,
        '    "E_EXPIRED": _ANEW',
        '    "E_NEVER": _ANEW',
    ),
    mutant(
        "answers a study twice that may be answered once, where the budget has room",
        "P8",
        f"{TRUTH}::test_once_per_study_is_no_lack_of_budget",
        ACCOUNTS,
        "            if cap.once and before:\n                raise answered_once(where)\n",
        "            if cap.once and before:\n                return\n",
    ),
    mutant(
        "passes the check of a table of which no row fits",
        "accurate wording",
        f"{TRUTH}::test_a_table_of_which_no_row_fits_is_a_failure_that_names_the_column",
        PREFLIGHT,
        "    if not len(codes):\n",
        "    if not len(codes) and not any(one.rows for one in found.values()):\n",
    ),
    mutant(
        "writes into a log how many rows fit",
        "A4",
        f"{TRUTH}::test_serving_does_not_log_how_rows_fit",
        FIT_REPORT,
        "return not logs.structured() and sys.stderr.isatty()",
        "return sys.stderr.isatty()",
    ),
    mutant(
        "reports how many rows fit where standard error is no terminal",
        "A4",
        f"{TRUTH}::test_serving_does_not_log_how_rows_fit",
        FIT_REPORT,
        "return not logs.structured() and sys.stderr.isatty()",
        "return not logs.structured()",
    ),
)
