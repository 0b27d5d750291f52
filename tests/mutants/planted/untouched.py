"""Bugs in files where none was planted before: what is promised and shown, what is read, what is remembered, what is drawn."""

from __future__ import annotations

from mutant import Mutant, mutant

SHAMIR = "common/cohortium/masking/shamir.py"
RECEIPT = "common/cohortium/ledger/receipt.py"
CANONICAL = "common/cohortium/system/canonical.py"
MERGING = "common/cohortium/data/binning.py"
FORECAST = "common/cohortium/federation/forecast.py"
SCHEMA = "common/cohortium/data/schema.py"
RULES = "common/cohortium/data/conditions/rules.py"
RECIPES = "common/cohortium/study/defaults.py"
SPREADING = "common/cohortium/data/columns/dequantization.py"
CONDITIONS = "common/cohortium/data/conditions/parsing.py"
FIDELITY = "common/cohortium/evaluation/fidelity.py"
PREVIEW = "client/cohortium_client/source/preview.py"
INSTITUTION = "client/cohortium_client/custodian/institution.py"
IDENTITY = "client/cohortium_client/custodian/identity.py"
RELAY = "client/cohortium_client/relay.py"
DATABASE = "client/cohortium_client/source/database.py"
CELLS = "common/cohortium/data/readers/cells.py"
MAPPING = "client/cohortium_client/source/mapping.py"
RECEIPTS = "server/cohortium_server/rounds/receipts.py"
FOLDER_JOURNAL = "server/cohortium_server/rounds/folder_journal.py"
ORDERS = "server/cohortium_server/desired_state.py"
ROWS = "server/cohortium_server/release/rows.py"
NOISED = "server/cohortium_server/release/answers/noised.py"
STORED = "server/cohortium_server/release/answers/stored.py"
PARTITION = "simulation/cohortium_simulation/partition.py"
VERDICT = "simulation/cohortium_simulation/audit/verdict.py"
DETECTORS = "simulation/cohortium_simulation/audit/detectors.py"

MASKS = "tests/laws/test_masking.py"
MERGED = "tests/laws/test_merging.py"
SOURCES = "tests/client/source/test_source.py"
JOURNALS = "tests/server/rounds/test_journal.py"
ANSWERS = "tests/server/release/test_answers.py"
AUDIT = "tests/statistics/test_audit.py"
KILLERS = "tests/mutants/test_untouched_killers.py"

MUTANTS: tuple[Mutant, ...] = (
    # What is promised, signed and shown
    mutant(
        "gives everybody the secret as its share",
        "5.2",
        f"{MASKS}::test_fewer_than_t_shares_are_consistent_with_every_secret_equally_often",
        SHAMIR,
        "_value((secret, *coefficients), x, prime)",
        "_value((secret,), x, prime)",
    ),
    mutant(
        "hands out the share at zero, which is the secret",
        "5.2",
        f"{MASKS}::test_shares_stand_at_distinct_places_other_than_zero[xs0]",
        SHAMIR,
        "not all(0 < x < prime for x in points)",
        "not all(0 <= x < prime for x in points)",
    ),
    mutant(
        "signs receipts that any answer can show",
        "T5",
        f"{KILLERS}::test_a_receipt_is_of_one_answer",
        RECEIPT,
        '"head": head, "about": about}',
        '"head": head, "about": ""}',
    ),
    mutant(
        "writes one value as several byte strings",
        "T9",
        f"{KILLERS}::test_one_value_is_one_byte_string",
        CANONICAL,
        "sort_keys=True, ",
        "",
    ),
    mutant(
        "signs numbers that are not finite",
        "P32",
        f"{KILLERS}::test_what_is_no_number_has_no_bytes[nan]",
        CANONICAL,
        "allow_nan=False",
        "allow_nan=True",
    ),
    mutant(
        "forecasts half the noise of several institutions",
        "P32",
        f"{KILLERS}::test_the_noise_that_is_forecast_is_the_noise_of_the_sum",
        FORECAST,
        "return math.sqrt(len(study.institutions)) * sorted(found)",
        "return sorted(found)",
    ),
    mutant(
        "forecasts a training's noise as if nobody shared it",
        "P32",
        "tests/federation/test_forecast.py::test_a_whole_noise_is_made_of_shares",
        FORECAST,
        '"noise_multiplier": phase.multiplier * math.sqrt(phase.honest),',
        '"noise_multiplier": phase.multiplier,',
    ),
    mutant(
        "forecasts a training of one institution's cost alone",
        "P25",
        "tests/federation/test_forecast.py::test_both_accountants_confirm_the_noise_that_is_reported[3]",
        FORECAST,
        "    step, in_a_round = found\n    alone = cost(person_events(study, phase.events), study.privacy.delta)",
        "    step, in_a_round = found\n    alone = cost(phase.events, study.privacy.delta)",
    ),
    mutant(
        "previews a study as if it cost nothing",
        "P8",
        f"{KILLERS}::test_a_preview_shows_what_would_be_spent_and_what_is_refused",
        PREVIEW,
        "for events in ((), more))",
        "for events in ((), ()))",
    ),
    mutant(
        "previews a study that cannot be paid for as acceptable",
        "P8",
        f"{KILLERS}::test_a_preview_shows_what_would_be_spent_and_what_is_refused",
        PREVIEW,
        "return None, require_paid_for(study, institution.file.population.name, institution.policy, ledger)",
        "return None, str(require_paid_for)",
    ),
    mutant(
        "prints an institution's private key",
        "A4",
        f"{KILLERS}::test_an_identity_does_not_show_its_key",
        IDENTITY,
        "key: Ed25519PrivateKey = field(repr=False)",
        "key: Ed25519PrivateKey = field()",
    ),
    mutant(
        "trains by a recipe for one noise where there are many",
        "P13",
        f"{KILLERS}::test_a_recipe_follows_from_what_is_public",
        RECIPES,
        'return 0 if study.privacy.trust == "secure-sum" or len(study.institutions) == 1 else 1',
        "return 0",
    ),
    # What is read
    mutant(
        "takes merged cells that there are not",
        "P29",
        f"{MERGED}::test_a_cell_that_there_is_not_is_refused",
        MERGING,
        "if (part != received).any() or (part < 0).any() or (part >= most).any():",
        "if (part != received).any() or (part < 0).any():",
    ),
    mutant(
        "merges a row's cells by another column's",
        "P10",
        f"{MERGED}::test_every_row_is_merged_by_itself",
        MERGING,
        "starts, codes = np.cumsum([0, *sizes[:-1]]), np.empty(values.shape, np.int16)",
        "starts, codes = np.zeros(len(sizes), np.int64), np.empty(values.shape, np.int16)",
    ),
    mutant(
        "opens a database so that a query can write",
        "T9",
        f"{SOURCES}::test_sqlite_refuses_to_write[WITH x AS (SELECT 8 AS n) INSERT INTO t SELECT n FROM x]",  # noqa: S608
        DATABASE,
        'update_query_dict({"mode": "ro", "uri": "true"})',
        'update_query_dict({"mode": "rw", "uri": "true"})',
    ),
    mutant(
        "takes a password that others may read",
        "A4",
        f"{SOURCES}::test_a_password_that_others_may_read_is_refused[420]",
        DATABASE,
        "if others_may(os.fstat(file.fileno()).st_mode, 0o077):",
        "if others_may(os.fstat(file.fileno()).st_mode, 0o002):",
    ),
    mutant(
        "writes every row that it reads into the log",
        "A1",
        f"{SOURCES}::test_no_row_is_written_down",
        DATABASE,
        '.Engine.{_LOG}").setLevel(logging.WARNING)',
        '.Engine.{_LOG}").setLevel(logging.DEBUG)',
    ),
    mutant(
        "takes a password from the environment",
        "A4",
        f"{SOURCES}::test_bad_input_47_a_password_in_the_environment",
        DATABASE,
        'if backend == "postgresql" and "PGPASSWORD" in os.environ:',
        'if backend == "none" and "PGPASSWORD" in os.environ:',
    ),
    mutant(
        "takes two long whole decimals for one person",
        "P27",
        f"{SOURCES}::test_plain_values[value6-12345678901234567890123]",
        CELLS,
        "return int(value) if whole else float(value)",
        "return float(value)",
    ),
    mutant(
        "takes lists for values",
        "P12",
        f"{SOURCES}::test_plain_values[value21-None]",
        CELLS,
        "return None if isinstance(value, list | tuple | dict | set | frozenset | Unreadable) else str(value)",
        "return str(value)",
    ),
    mutant(
        "lets a mapping put several persons together",
        "P27",
        f"{KILLERS}::test_a_person_is_not_mapped_to_another",
        MAPPING,
        "            if rule != ColumnMapping(origin=rule.origin):\n",
        "            if False:\n",
    ),
    mutant(
        "recodes what is missing as a value",
        "P11",
        f"{SOURCES}::test_recode[values0]",
        MAPPING,
        'return table.get("") if key.lower() in words else default',
        "return default",
    ),
    mutant(
        "lets the custodian's own key restore its ledger",
        "T9",
        f"{KILLERS}::test_a_custodian_is_none_of_its_restorers",
        INSTITUTION,
        "    if identity.public in file.restorers:\n",
        "    if not identity.public:\n",
    ),
    mutant(
        "keeps the witness beside the ledger wherever it was put",
        "T9",
        f"{KILLERS}::test_a_witness_lies_where_it_was_put",
        INSTITUTION,
        "return witness_of(self.ledger_file) if self.file.witness is None else self.folder / self.file.witness",
        "return witness_of(self.ledger_file)",
    ),
    mutant(
        "takes a relay's key that everybody may read",
        "A4",
        f"{KILLERS}::test_a_relays_key_is_not_everybodys[388-False]",
        RELAY,
        "st_mode, 0o007):",
        "st_mode, 0o000):",
    ),
    mutant(
        "forgets a schema's constraints where it is signed",
        "T11",
        "tests/data/test_constraints.py::test_constraints_are_part_of_the_document_and_of_the_digest",
        SCHEMA,
        'rest = {"constraint": constraints, "table": tables}',
        'rest = {"table": tables}',
    ),
    mutant(
        "takes a row for broken by what is missing",
        "P11",
        f"{KILLERS}::test_a_sum_is_not_broken_by_what_is_missing",
        RULES,
        "((values != MISSING) & (values < np.array(self.scales))).all(axis=1)",
        "(values < np.array(self.scales)).all(axis=1)",
    ),
    # What is remembered
    mutant(
        "goes on from a sum that was changed",
        "T5",
        f"{JOURNALS}::test_a_damaged_sum_is_refused[a number changed by one bit]",
        FOLDER_JOURNAL,
        'if fields["digest"] == self._digest(aggregate):',
        'if fields["digest"]:',
    ),
    mutant(
        "goes on from another round's sum",
        "T5",
        f"{JOURNALS}::test_a_sum_of_another_round_is_refused",
        FOLDER_JOURNAL,
        "[self.run, aggregate.round, aggregate.attempt,",
        "[self.run, 0, aggregate.attempt,",
    ),
    mutant(
        "goes on with another study than the one it began",
        "T5",
        f"{JOURNALS}::test_a_damaged_run_is_refused[a study with another epsilon]",
        FOLDER_JOURNAL,
        "if study.digest != digest:",
        "if not study.digest:",
    ),
    mutant(
        "asks a round again at another state",
        "T5, P6",
        f"{JOURNALS}::test_a_journal_returns_what_was_recorded[folder]",
        FOLDER_JOURNAL,
        "        write_whole(self._asked(round_number), state)\n",
        "        del state\n",
    ),
    mutant(
        "lets two coordinators run one study",
        "T5",
        f"{JOURNALS}::test_two_coordinators_cannot_have_one_run",
        FOLDER_JOURNAL,
        "self._lock = self._locked() if alone else None",
        "self._lock = None",
    ),
    mutant(
        "lets an older receipt displace the newest",
        "T9",
        f"{JOURNALS}::test_receipts_are_kept_by_key_and_an_older_one_does_not_displace_the_newest",
        RECEIPTS,
        "            if receipt not in known:\n",
        "            if True:\n",
    ),
    mutant(
        "takes an older order's end for the newest's",
        "T5",
        "tests/server/flower/test_orders.py::test_an_end_belongs_to_the_order_it_ended",
        ORDERS,
        'if document is None or last is None or document["number"] != last.number:',
        "if document is None or last is None:",
    ),
    # What is drawn and answered
    mutant(
        "draws rows that a condition excludes",
        "P12",
        f"{KILLERS}::test_a_model_without_such_rows_draws_none",
        ROWS,
        "        if not weights[codes[:, j]].all():\n",
        "        if not weights.any():\n",
    ),
    mutant(
        "answers with intervals of half their width",
        "P32",
        f"{KILLERS}::test_a_noised_count_is_as_uncertain_as_its_noise",
        NOISED,
        "return _Margin(_cells(tables[0], columns), total / precision, 1 / precision)",
        "return _Margin(_cells(tables[0], columns), total / precision, 0.25 / precision)",
    ),
    mutant(
        "is as sure of a sum within a merged cell as of the whole",
        "P32",
        f"{ANSWERS}::test_a_sum_within_a_merged_cell_is_not_estimated_from_pairs",
        NOISED,
        "return value, np.where(known, variance, np.inf)",
        "return value, variance",
    ),
    mutant(
        "takes stored tables without noise",
        "P32",
        f"{KILLERS}::test_stored_noise_is_positive[0.0]",
        STORED,
        ' or not (stored["sigma"] > 0).all():',
        ":",
    ),
    mutant(
        "holds distances for half of what they are",
        "A5",
        "tests/evaluation/test_evaluation.py::test_disjoint_tables_are_at_distance_one[2]",
        FIDELITY,
        ".sum()) / 2",
        ".sum()) / 4",
    ),
    mutant(
        "assigns one person to several institutions",
        "P25",
        "tests/simulation/test_partition.py::test_iid_deals_out_persons_and_not_rows",
        PARTITION,
        "homes = _drawn(_identities(table, person), rng.bytes(16)) * len(names)",
        "homes = _drawn(_identities(table, None), rng.bytes(16)) * len(names)",
    ),
    # What attacks the installed software
    mutant(
        "raises no alarm at a wrong scale",
        "3.1",
        f"{AUDIT}::test_a_little_less_or_more_noise_is_caught[0.85-counts]",
        VERDICT,
        "not limits.low <= 1 <= limits.high,",
        "limits.low > limits.high,",
    ),
    mutant(
        "omits the noise of numbers of persons",
        "3.1",
        f"{AUDIT}::test_a_number_of_persons_with_too_little_noise_is_caught[bare]",
        VERDICT,
        "for phase, n in runs_for_noise.weights.items()",
        "for phase, n in ()",
    ),
    mutant(
        "believes an attack on few guesses",
        "3.1",
        f"{AUDIT}::test_upper_limits_are_clopper_and_pearsons",
        DETECTORS,
        "return 1.0 if hits >= trials else float(stats.beta.isf(alpha, hits + 1, trials - hits))",
        "return hits / trials",
    ),
)
