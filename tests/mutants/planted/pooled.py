"""Simulations of many institutions: masks left out where they are owed, and ledgers in one file."""

from __future__ import annotations

from mutant import Mutant, mutant

POOLED = "simulation/cohortium_simulation/pooled.py"
EXPERIMENT = "simulation/cohortium_simulation/experiment.py"
SHELF = "common/cohortium/ledger/shelf.py"
ROUNDS = "server/cohortium_server/rounds/rounds.py"
WRITING = "server/cohortium_server/release/writing.py"
REPORT = "server/cohortium_server/release/report.py"
TESTS = "tests/simulation/test_pooled.py"
MASKS, SAID = "masks are required", "accurate wording"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "adds up a federation's answers without masks",
        MASKS,
        f"{TESTS}::test_a_federation_is_never_asked_without_masks",
        ROUNDS,
        "if not masked and not (simulated and study.simulated):",
        "if not masked and not (simulated or study.simulated):",
    ),
    mutant(
        "answers a federation's study without masks",
        MASKS,
        f"{TESTS}::test_a_pooled_custodian_answers_no_federations_study",
        POOLED,
        "if not study.simulated:",
        "if False:",
    ),
    mutant(
        "answers in a pool what nobody has signed",
        "T3",
        f"{TESTS}::test_signatures_are_verified_before_anybody_answers",
        POOLED,
        "        consent.require_all(self._study, asked.consents)\n",
        "",
    ),
    mutant(
        "sends the answers of a batch before their charges are durable",
        "5.1",
        f"{TESTS}::test_nothing_is_sent_before_its_charge_is_durable",
        POOLED,
        "                return [c.charge(d) if isinstance(d, PreparedAnswer) else d for c, d in made]\n",
        "                yield from [c.charge(d) if isinstance(d, PreparedAnswer) else d for c, d in made]\n",
    ),
    mutant(
        "passes on what a batch that was not written would have paid for",
        "5.1",
        f"{TESTS}::test_a_disk_that_refuses_a_batch_makes_refusals_of_all_of_it",
        POOLED,
        "return [c.refuse(error, d.request) if isinstance(d, PreparedAnswer) else d for c, d in made]",
        "return [d.message if isinstance(d, PreparedAnswer) else d for c, d in made]",
    ),
    mutant(
        "goes on from charges that did not become durable",
        "5.1",
        f"{TESTS}::test_a_disk_that_refuses_a_batch_makes_refusals_of_all_of_it",
        SHELF,
        "                        ledger.forget()  # what it has cached may not have become durable\n",
        "                        pass\n",
    ),
    mutant(
        "lets each of two institutions of a batch become durable alone",
        "5.1",
        f"{TESTS}::test_a_process_that_ends_has_sent_nothing_or_charged_all_of_a_batch[batch written-0]",
        SHELF,
        '                    failpoints.passed("batch written")\n                    self.db.execute("COMMIT")\n',
        '                    self.db.execute("COMMIT")\n                    failpoints.passed("batch written")\n',
    ),
    mutant(
        "begins a second ledger for an institution that has one",
        "P8",
        f"{TESTS}::test_what_was_spent_counts_whoever_simulates_next",
        EXPERIMENT,
        'if self.many and not {f"{n}.sqlite", f"{n}.sqlite.head"} & files]',
        "if self.many]",
    ),
    mutant(
        "begins a ledger anew for an institution that many were simulated with",
        "P8",
        f"{TESTS}::test_few_go_on_from_the_file_that_many_began",
        EXPERIMENT,
        "return stack.enter_context(Shelf(path)) if self.many or there else None",
        "return stack.enter_context(Shelf(path)) if self.many else None",
    ),
    mutant(
        "takes an older file of many ledgers for the newest",
        "P7",
        f"{TESTS}::test_a_file_that_lacks_what_it_had_is_refused[older_copy]",
        SHELF,
        'if seen and not self.db.execute("SELECT 1',
        'if False and not self.db.execute("SELECT 1',
    ),
    mutant(
        "overlooks that an institution's ledger was taken out of a file of many",
        "P7",
        f"{TESTS}::test_what_was_changed_in_a_file_is_found[a whole ledger]",
        SHELF,
        "if before != previous or self._head(number, before) != head:",
        "if before != previous:",
    ),
    mutant(
        "says nothing of masks that were not made",
        SAID,
        f"{TESTS}::test_the_release_says_that_there_were_no_masks",
        WRITING,
        '        "trust": outcome.study.privacy.trust,\n        **({} if outcome.masked else {"masks": UNMASKED}),\n',
        '        "trust": outcome.study.privacy.trust,\n',
    ),
    mutant(
        "reports of masks that were not made",
        SAID,
        f"{TESTS}::test_the_release_says_that_there_were_no_masks",
        REPORT,
        "words=Cast.of(study, facts.masked),",
        "words=Cast.of(study),",
    ),
)
