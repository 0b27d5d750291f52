"""Sums that are not what was asked for, and releases that prove nothing."""

from __future__ import annotations

from mutant import Change, Mutant, mutant

ROUNDS = "server/cohortium_server/rounds/rounds.py"
ASKING = "server/cohortium_server/rounds/asking.py"
RELEASE = "server/cohortium_server/release/release.py"
EVIDENCE = "server/cohortium_server/release/evidence.py"
GATE = "server/cohortium_server/gate.py"
WIRE = "common/cohortium/federation/wire.py"
ENGINE = "tests/simulation/test_engine.py"
KILLERS = "tests/mutants/test_killers.py"
PROVEN = f"{KILLERS}::test_a_release_proves_what_its_institutions_agreed_to_and_answered"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "adds up an answer under a foreign key",
        "T3",
        f"{ENGINE}::test_bad_input_32_an_answer_under_anothers_receipt_is_no_answer[stranger]",
        ASKING,
        " and answer.receipt.is_of(key)",
        "",
    ),
    mutant(
        "adds up an answer to another request",
        "T5",
        f"{ENGINE}::test_bad_input_34_an_answer_to_another_request_is_no_answer[attempt]",
        ASKING,
        "(reply.study, reply.run, reply.round, reply.attempt) == asked and",
        "bool(asked) and",
    ),
    mutant(
        "adds up two answers of one institution",
        "T3",
        f"{ENGINE}::test_bad_input_33_the_first_of_two_answers_of_one_institution_counts",
        ASKING,
        " and answer.reply.institution not in receipts:",
        ":",
    ),
    Mutant(
        "adds up without an institution that is missing",
        "T4",
        f"{ENGINE}::test_a_missing_institution_is_named",
        (
            Change(ASKING, "    if not missing:\n", "    if len(missing) < 2:\n"),
            Change(
                ROUNDS, "receipts[n] for n in this.study.institution_names)", "receipts[n] for n in sorted(receipts))"
            ),
        ),
    ),
    mutant(
        "takes a receipt of one message for another's",
        "5.1",
        f"{KILLERS}::test_a_receipt_is_of_the_message_it_is_on",
        WIRE,
        "expected = (reply.institution, hashlib.sha256(inner).hexdigest(), answer_to(reply))",
        "expected = (reply.institution, receipt.message, answer_to(reply))",
    ),
    mutant(
        "takes a receipt for an answer to something else",
        "6, manifest",
        f"{KILLERS}::test_a_receipt_is_of_the_message_it_is_on",
        WIRE,
        "expected = (reply.institution, hashlib.sha256(inner).hexdigest(), answer_to(reply))",
        "expected = (reply.institution, hashlib.sha256(inner).hexdigest(), receipt.about)",
    ),
    mutant(
        "shows no institution the head it has signed last",
        "P7",
        "tests/server/rounds/test_journal.py::test_every_request_shows_the_newest_receipts",
        ASKING,
        "shown = self.seen.of(self.study)",
        "shown = ()",
    ),
    mutant(
        "loads a release without looking at consents and receipts",
        "6, manifest",
        f"{PROVEN}[a receipt under another key]",
        RELEASE,
        "        check_evidence(folder, study)\n",
        "        pass\n",
    ),
    mutant(
        "does not verify the receipts of a release",
        "6, manifest",
        f"{PROVEN}[a receipt under another key]",
        EVIDENCE,
        " and receipt.is_of(institution.key)",
        "",
    ),
    mutant(
        "takes receipts of another study or round for a release's",
        "6, manifest",
        f"{PROVEN}[a receipt for an answer to another study]",
        EVIDENCE,
        "(receipt.institution, receipt.about) == (institution.name, answer.about)",
        "receipt.institution == institution.name",
    ),
    mutant(
        "loads a release of which an institution has not signed every round",
        "6, manifest",
        f"{PROVEN}[a round without a receipt]",
        EVIDENCE,
        "< study.answers_needed",
        "< 0",
    ),
    mutant(
        "does not verify the consents of a release",
        "6, manifest",
        f"{PROVEN}[a consent under another key]",
        EVIDENCE,
        "    if absent := unsigned(study, consents):\n",
        "    if absent := [name for name in study.institution_names if not consents[name]]:\n",
    ),
    mutant(
        "releases what cost more than was agreed",
        "P9",
        f"{KILLERS}::test_the_gate_refuses_what_cost_more_or_was_asked_more_often",
        GATE,
        "found.epsilon <= promised.epsilon and ",
        "",
    ),
    mutant(
        "releases what was asked more often than was planned",
        "P28",
        f"{KILLERS}::test_the_gate_refuses_what_cost_more_or_was_asked_more_often",
        GATE,
        "asked == planned and ",
        "",
    ),
)
