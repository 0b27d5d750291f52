"""Masks that hide less than they should, and legs that tell a lying coordinator more."""

from __future__ import annotations

from mutant import Change, Mutant, mutant

FILES = "common/cohortium/system/files.py"
MASKING = "common/cohortium/masking"
COHORT, DERIVATION, STATEMENTS = (f"{MASKING}/{n}.py" for n in ("cohort", "derivation", "statements"))
DOUBLE, WHOLE, RING, TOTAL = (f"{MASKING}/{n}.py" for n in ("dropout_tolerant", "all_or_nothing", "ring", "total"))
STUDY = "common/cohortium/study/study.py"
PLAN = "common/cohortium/study/plan.py"
GUARANTEE = "common/cohortium/study/guarantee.py"
CUSTODIAN = "client/cohortium_client/custodian/custodian.py"
MASKED = "client/cohortium_client/custodian/masked.py"
SESSIONS = "client/cohortium_client/custodian/sessions.py"
LAWS = "tests/laws/test_masking.py"
ATTACKS = "tests/test_masking_attacks.py"
SUMS = "tests/test_secure_sum.py"
ADVERSARY = "tests/test_adversary.py"
KILLERS = "tests/mutants/test_masking_killers.py"

_KEYS: tuple[Mutant, ...] = (
    mutant(
        "expands a mask from 32 bits of its key",
        "F1",
        f"{KILLERS}::test_every_bit_of_a_key_counts",
        RING,
        "algorithms.AES(key)",
        "algorithms.AES(key[:4] + bytes(28))",
    ),
    mutant(
        "starts the key stream again in every block",
        "4.2 R2",
        f"{LAWS}::test_masks_are_the_key_stream_whatever_the_blocks[40000-ring0]",
        RING,
        "        for stream, combine in streams:  # all masks of a block while it lies in the cache\n",
        "        for stream, combine in [(_stream(k), np.add if s > 0 else np.subtract) for k, s in masks]:\n",
    ),
    mutant(
        "leaves the view of the keys out of what masks follow from",
        "4.2 R1",
        f"{KILLERS}::test_answers_under_different_views_do_not_add_up",
        STATEMENTS,
        "        return bytes.fromhex(self.view)\n",
        "        return bytes(32)\n",
    ),
    mutant(
        "uses one mask for every question of an attempt",
        "T2",
        f"{ATTACKS}::test_all_or_nothing_at_another_question_or_session_is_noise[question]",
        WHOLE,
        "bound = (context.document(), question)",
        'bound = (context.document(), "")',
    ),
    mutant(
        "uses one mask for all rounds and attempts of a run",
        "P6",
        f"{ATTACKS}::test_the_coordinators_view_does_not_depend_on_who_sent_what[whole_views]",
        WHOLE,
        "bound = (context.document(), question)",
        "bound = (context.of_run.document(), question)",
    ),
    mutant(
        "uses one mask for every board of shares",
        "T3",
        f"{KILLERS}::test_an_answer_under_masks_for_another_board_tells_no_pair_mask",
        DOUBLE,
        "self.adverts.context.document(), question, self.board",
        "self.adverts.context.document(), question",
    ),
    mutant(
        "uses the same keys for all sessions of its secrets",
        "P6",
        f"{LAWS}::test_secrets_are_read_as_they_were_written",
        DERIVATION,
        'derive(self.seed, b"", label, context.document(), *bound)',
        'derive(self.seed, b"", label, *bound)',
    ),
    mutant(
        "shares its seed and its key by one polynomial",
        "4.3",
        f"{LAWS}::test_coefficients_are_elements_and_others_for_another_secret_or_context",
        DERIVATION,
        'self._derive("coefficients", context, what)',
        'self._derive("coefficients", context)',
    ),
    mutant(
        "shares its secrets so that t - 1 shares give them back",
        "4.3",
        f"{LAWS}::test_double_masked_sums_are_the_known_ones",
        DOUBLE,
        "cohort.threshold - 1)",
        "cohort.threshold - 2)",
    ),
    mutant(
        "adds all pair masks and subtracts none",
        "4.2 R2",
        f"{LAWS}::test_the_first_by_name_adds_and_the_other_subtracts",
        DERIVATION,
        "return 1 if name < other else -1",
        "return 1",
    ),
    mutant(
        "leaves the self mask out",
        "4.2 R2",
        f"{ATTACKS}::test_a_late_answer_stays_masked",
        DOUBLE,
        "masked(noised, ring, [own, *pairs])",
        "masked(noised, ring, pairs)",
    ),
    mutant(
        "leaves the pair masks out where some may drop out",
        "4.2 R2",
        f"{ATTACKS}::test_the_coordinators_view_does_not_depend_on_who_sent_what[double_views]",
        DOUBLE,
        "masked(noised, ring, [own, *pairs])",
        "masked(noised, ring, [own])",
    ),
    mutant(
        "leaves all masks out",
        "4.2 R2",
        f"{LAWS}::test_a_masked_answer_is_not_the_answer",
        TOTAL,
        "    add_masks(values, masks)\n",
        "",
    ),
    mutant(
        "adds in a ring that the noised sum can wrap in",
        "4.2 R2",
        f"{LAWS}::test_the_edges_of_the_rings",
        RING,
        "if reach < 2**31:",
        "if reach < 2**32:",
    ),
    mutant(
        "leaves room in the ring for the sum without its noise",
        "4.2 R2",
        f"{LAWS}::test_the_edges_of_the_rings",
        RING,
        "reach = largest + math.ceil(TAIL * sigma)",
        "reach = largest",
    ),
)

_BOARDS: tuple[Mutant, ...] = (
    mutant(
        "does not check who signed a statement",
        "T3",
        f"{ATTACKS}::test_keys_signed_by_a_key_that_the_study_does_not_name_are_refused[0]",
        STATEMENTS,
        "if not signed_by(cohort.keys[name], statement.signature, _text(statement)):",
        "if not statement.signature:",
    ),
    mutant(
        "takes a statement of another session",
        "T3",
        f"{ATTACKS}::test_statements_of_another_session_are_refused[attempt-confirm]",
        STATEMENTS,
        "statement.leg != leg or statement.context != context",
        "statement.leg != leg",
    ),
    mutant(
        "takes a statement of another leg",
        "T3",
        f"{ATTACKS}::test_a_statement_of_another_leg_is_refused[mask]",
        STATEMENTS,
        "statement.leg != leg or statement.context != context",
        "statement.context != context",
    ),
    mutant(
        "lets an institution be on a board twice",
        "T3",
        f"{ATTACKS}::test_an_institution_that_counts_twice_is_refused",
        STATEMENTS,
        "        if name in found:\n",
        "        if False:\n",
    ),
    mutant(
        "lets two institutions of a study have one key",
        "T3",
        f"{LAWS}::test_a_cohort_needs_keys_and_a_measure",
        COHORT,
        "if not all(self.keys.values()) or len(set(self.keys.values())) < self.size:",
        "if not all(self.keys.values()):",
    ),
    mutant(
        "takes a key that is on the board already",
        "T3",
        f"{ATTACKS}::test_a_key_is_on_the_board_once_however_it_is_spelled[0]",
        STATEMENTS,
        "if owners.setdefault(fingerprint(statement.body[kind], name), name + kind) != name + kind:",
        'if not fingerprint(statement.body[kind], name) and owners.setdefault(b"", kind):',
    ),
    mutant(
        "compares keys by their spelling",
        "T3",
        f"{ATTACKS}::test_a_key_is_on_the_board_once_however_it_is_spelled[2]",
        STATEMENTS,
        "owners.setdefault(fingerprint(statement.body[kind], name), name + kind)",
        "owners.setdefault(fingerprint(statement.body[kind], name) and statement.body[kind].encode(), name + kind)",
    ),
    mutant(
        "takes a key with which everybody shares the same secret",
        "4.2",
        f"{ATTACKS}::test_keys_that_give_everybody_the_same_secret_are_refused[{'00' * 32}-0]",
        DERIVATION,
        "    except ValueError:\n        raise MaskingError(",
        '    except ValueError:\n        return b""\n        raise MaskingError(',
        (
            "    return X25519PrivateKey.from_private_bytes(private).exchange(key)\n",
            "    try:\n"
            "        return X25519PrivateKey.from_private_bytes(private).exchange(key)\n"
            "    except ValueError:\n"
            "        return bytes(32)\n",
        ),
    ),
    mutant(
        "goes on with keys that are not its own",
        "T9",
        f"{ATTACKS}::test_own_keys_of_another_time_are_refused[0]",
        STATEMENTS,
        'if own["mask"] != adverts.mask_keys[seat.name] or own.get(',
        "if own.get(",
    ),
    mutant(
        "does not look whether all were shown the same keys",
        "T3",
        f"{ATTACKS}::test_institutions_that_were_shown_different_keys_of_a_colluder_do_not_go_on",
        DOUBLE,
        '    if body["view"] != adverts.view:\n',
        "    if False:\n",
    ),
    mutant(
        "does not look whether all have masked for the same board and question",
        "T3",
        f"{ATTACKS}::test_masking_for_one_board_and_confirming_another_is_refused",
        DOUBLE,
        "        if statement.body != masked_for(shares, question):\n",
        "        if False:\n",
    ),
    mutant(
        "does not say which question it has masked for",
        "T2",
        f"{ATTACKS}::test_another_question_to_one_institution_is_noticed_before_anything_is_revealed",
        DOUBLE,
        '{"shares": shares.board, "question": question}',
        '{"shares": shares.board, "question": ""}',
    ),
    mutant(
        "masks before it knows that its shares can be opened",
        "T3",
        f"{ATTACKS}::test_a_share_that_cannot_be_opened_is_refused_before_the_answer_is_touched",
        DOUBLE,
        "        if other != seat.name:\n            _open(",
        "        if other is None:\n            _open(",
    ),
    mutant(
        "takes a share that it has made itself for another's",
        "T3",
        f"{ATTACKS}::test_a_share_is_for_one_reader_from_one_maker",
        DOUBLE,
        '"shares", seat.context.document(), source, target)',
        '"shares", seat.context.document())',
        ("canonical_json([source, target, adverts.view])", "canonical_json([adverts.view])"),
    ),
    mutant(
        "reads its table before it has looked at the board",
        "T2",
        f"{ADVERSARY}::test_a_board_with_other_keys_of_an_institution_makes_it_read_nothing[0]",
        MASKED,
        "        seat, boards = self._seat(request), _boards(request)\n",
        "        seat, boards, answer = self._seat(request), _boards(request), noised()\n",
    ),
)

_SURVIVORS: tuple[Mutant, ...] = (
    mutant(
        "reveals both kinds of shares",
        "F1",
        f"{ATTACKS}::test_no_list_makes_an_institution_both_survive_and_drop_out",
        DOUBLE,
        '"keys": {name: _element(opened[name][1]) for name in answers.dropped},',
        '"keys": {name: _element(opened[name][1]) for name in shares.names},',
    ),
    mutant(
        "confirms survivors that it is not among",
        "4.2 R3",
        f"{ATTACKS}::test_an_institution_confirms_no_survivors_that_it_is_not_among",
        DOUBLE,
        "    if seat.name not in answers.survivors:\n",
        "    if False:\n",
    ),
    mutant(
        "reveals shares for survivors that it has not confirmed",
        "4.2 R4",
        f"{ATTACKS}::test_a_second_reveal_is_the_first_one_or_none",
        DOUBLE,
        "    if seat.name not in confirmed.signers:\n",
        "    if False:\n",
    ),
    mutant(
        "takes half of the institutions for enough to open a sum",
        "4.2 R4",
        f"{LAWS}::test_thresholds_of_the_paper",
        COHORT,
        "return 2 * self.size // 3 + 1",
        "return self.size // 2 + 1",
    ),
    mutant(
        "opens with fewer than t confirmations",
        "4.2 R4",
        f"{ATTACKS}::test_fewer_than_t_confirmations_reveal_nothing",
        DOUBLE,
        'adverts.context, "confirm", statements)\n    require_enough(adverts.cohort, board, adverts.cohort.threshold)',
        'adverts.context, "confirm", statements)\n    require_enough(adverts.cohort, board, 1)',
    ),
    mutant(
        "goes on with one other institution",
        "4.2 R3",
        f"{ATTACKS}::test_a_cohort_below_the_minimum_is_refused[2]",
        COHORT,
        "max(self.threshold, self.honest + self.colluders, SMALLEST) if self.dropouts",
        "1 if self.dropouts",
    ),
    mutant(
        "confirms survivors that are fewer than H + T",
        "4.5",
        f"{ATTACKS}::test_survivors_below_h_and_t_are_refused",
        COHORT,
        "max(self.threshold, self.honest + self.colluders, SMALLEST)",
        "max(self.threshold, SMALLEST)",
    ),
    mutant(
        "takes two institutions for enough to hide each other",
        "4.2 R1",
        f"{LAWS}::test_exactly_the_safe_cohorts_are_accepted[2]",
        COHORT,
        "\nSMALLEST = 3 ",
        "\nSMALLEST = 2 ",
    ),
    mutant(
        "tolerates a third of colluders where some may drop out",
        "4.2 R4",
        f"{LAWS}::test_exactly_the_safe_cohorts_are_accepted[6]",
        COHORT,
        "if D and 3 * T >= K:",
        "if D and 3 * T > K:",
    ),
    mutant(
        "opens a sum of all or nothing without all",
        "4.1",
        f"{ATTACKS}::test_all_or_nothing_opens_nothing_while_one_is_missing",
        WHOLE,
        "    require_enough(cohort, total.survivors, cohort.size)\n",
        "",
    ),
    mutant(
        "adds an institution's answer twice",
        "T6",
        f"{ATTACKS}::test_answers_that_do_not_fit_are_left_out",
        TOTAL,
        "        if institution in self._added:\n",
        "        if False:\n",
    ),
    mutant(
        "believes a revealed share without its commitment",
        "T6",
        f"{ATTACKS}::test_a_share_that_moves_a_secret_by_one_is_noticed[seeds]",
        DOUBLE,
        "lambda seed: commitment(seed, name, context) == committed",
        "lambda seed: bool(committed)",
    ),
    mutant(
        "opens another sum than that of the confirmed survivors",
        "4.2 R3",
        f"{ATTACKS}::test_what_was_added_up_is_what_was_confirmed",
        DOUBLE,
        "    if total.survivors != confirmed.answers.survivors:\n",
        "    if False:\n",
    ),
)

_CUSTODY: tuple[Mutant, ...] = (
    mutant(
        "shares the noise among K institutions where H must do",
        "4.5",
        f"{SUMS}::test_noise_shares_add_up_to_what_is_promised",
        STUDY,
        "return self.cohort.honest if",
        "return self.cohort.size if",
    ),
    mutant(
        "charges nothing towards those who know all other answers",
        "4.5",
        f"{SUMS}::test_who_knows_all_the_others_answers_is_told_of_apart",
        CUSTODIAN,
        "phase.bare_events if phase.honest > 1 else (),",
        "(),",
    ),
    mutant(
        "promises towards all others together what it promises towards the coordinator",
        "4.5",
        f"{ADVERSARY}::test_one_who_takes_part_is_told_of_although_nobody_was_said_to_collude[3-0]",
        GUARANTEE,
        "WITH_ALL_OTHERS: bare}",
        "WITH_ALL_OTHERS: sums}",
    ),
    mutant(
        "forgets that one who takes part knows a share of the noise",
        "4.5",
        f"{ADVERSARY}::test_one_who_takes_part_is_told_of_although_nobody_was_said_to_collude[10-0]",
        GUARANTEE,
        "some = sums if study.privacy.colluders else",
        "some = sums if study.privacy.colluders >= 0 else",
    ),
    mutant(
        "charges g institutions that move one noise as if each had its own",
        "4.5, P25",
        "tests/laws/test_accounting.py::test_a_masked_sum_costs_g_answers_with_a_part_of_the_noise_each[2-ctgan]",
        PLAN,
        "parted = math.sqrt(study.privacy.institutions_per_person)",
        "parted = 1.0",
    ),
    mutant(
        "charges an institution the noise of all g that hold a person",
        "4.5",
        f"{ADVERSARY}::test_what_the_institutions_of_a_person_are_charged_composes_to_what_the_person_meets[2-secure-sum]",
        CUSTODIAN,
        "            charged(study, phase.answer_events),\n",
        "            phase.answer_events,\n",
    ),
    mutant(
        "answers a masked study without masks",
        "T1",
        f"{KILLERS}::test_a_masked_study_is_answered_under_masks_or_not_at_all",
        CUSTODIAN,
        'if (request.leg == "answer") != (study.privacy.trust == "local"):',
        'if request.leg != "answer" and study.privacy.trust == "local":',
    ),
    Mutant(
        "answers a leg of an attempt a second time, for another board",
        "4.2 R3",
        f"{SUMS}::test_a_second_confirmation_of_other_survivors_is_refused",
        (
            Change(MASKED, "kept = self.sessions.said(self._place(request))", "kept = None"),
            Change(SESSIONS, "INSERT INTO said", "INSERT OR REPLACE INTO said"),
        ),
    ),
    mutant(
        "keeps the secrets of a run after its last round",
        "A4",
        f"{SUMS}::test_secrets_are_gone_when_the_last_round_is_answered",
        CUSTODIAN,
        "            self._holding.sessions.forget(request.run)\n",
        "            pass\n",
    ),
    mutant(
        "lets others read what masks follow from",
        "A4",
        f"{SUMS}::test_secrets_are_gone_when_the_last_round_is_answered",
        FILES,
        "    path.chmod(0o600)\n    with path.open",
        "    path.chmod(0o644)\n    with path.open",
    ),
)

MUTANTS = (*_KEYS, *_BOARDS, *_SURVIVORS, *_CUSTODY)
