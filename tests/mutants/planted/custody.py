"""Things that leave the institution and should not, and people who should not have been let in."""

from __future__ import annotations

from mutant import Change, Mutant, mutant

CUSTODIAN = "client/cohortium_client/custodian/custodian.py"
SERVICE = "client/cohortium_client/socket/service.py"
GATE = "client/cohortium_client/socket/gate.py"
LINES = "common/cohortium/data/readers/lines.py"
WIRE = "common/cohortium/federation/wire.py"
FILES = "common/cohortium/system/files.py"
KEYS = "common/cohortium/system/keys.py"
CUSTODY = "tests/client/custodian/test_custodian.py"
KILLERS = "tests/mutants/test_killers.py"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "sends the number of rows in the place of the salt",
        "P13",
        f"{CUSTODY}::test_a_new_run_is_new_noise_and_a_new_charge",
        CUSTODIAN,
        "secrets.token_hex(32)",
        'f"{len(self._open[1]):064x}"',
    ),
    mutant(
        "sends the number of rows behind the noised values",
        "P13",
        f"{KILLERS}::test_an_answer_has_the_bytes_its_study_determines[40]",
        CUSTODIAN,
        "values, statement), request.version)\n",
        'values, statement), request.version) + len(self._open[1]).to_bytes(8, "little")\n',
    ),
    mutant(
        "salts every message alike",
        "4 (receipts)",
        f"{CUSTODY}::test_a_new_run_is_new_noise_and_a_new_charge",
        CUSTODIAN,
        "secrets.token_hex(32)",
        '"00" * 32',
    ),
    mutant(
        "sends the text of an exception",
        "P36",
        f"{CUSTODY}::test_whatever_fails_nothing_leaves_but_a_code[something asserts]",
        CUSTODIAN,
        'without_text(error), extra=about(request, "E_CUSTODIAN"))\n            return self._refusal("E_CUSTODIAN")',
        'without_text(error), extra=about(request, "E_CUSTODIAN"))\n            return self._refusal(str(error))',
    ),
    mutant(
        "sends the text of an exception from behind the socket",
        "P36",
        f"{KILLERS}::test_the_service_sends_no_text_of_an_exception",
        SERVICE,
        '_log.error("failed: %s", without_text(error), extra=about(code="E_CUSTODIAN"))',
        'return encode_refusal(Refusal("", str(error)))',
    ),
    mutant(
        "reveals by its code how reading the table failed",
        "P36",
        f"{CUSTODY}::test_a_table_that_cannot_be_read_leaves_one_code_whatever_the_reason[a wire error]",
        CUSTODIAN,
        "    except REPORTABLE as error:\n        raise InputError(",
        "    except ZeroDivisionError as error:\n        raise InputError(",
    ),
    mutant(
        "puts a value of the table into the text of an error",
        "P36",
        "tests/data/test_tables.py::test_errors_never_carry_a_value",
        LINES,
        "detail=_miscounted(row.actual_columns, row.expected_columns)",
        "detail=_miscounted(row.actual_columns, row.expected_columns) + row.text",
    ),
    mutant(
        "writes the text of an exception into its log",
        "P36",
        f"{KILLERS}::test_no_text_of_an_exception_is_in_the_log",
        CUSTODIAN,
        "without_text(error), extra",
        "error, extra",
    ),
    mutant(
        "writes the number of rows into its log",
        "P36",
        f"{KILLERS}::test_the_log_of_an_answer_does_not_depend_on_the_table",
        CUSTODIAN,
        '_log.info("answered a round of study %s", study.name,',
        '_log.info("answered %d rows of study %s", len(self._open[1]), study.name,',
    ),
    mutant(
        "reads an answer of another width",
        "T6",
        f"{KILLERS}::test_an_answer_of_another_width_is_none",
        WIRE,
        "or len(payload) != wanted.itemsize * width:",
        "or len(payload) % wanted.itemsize:",
    ),
    mutant(
        "answers in a version that it was not asked in",
        "T6",
        "tests/federation/test_upgrade.py::test_an_institution_answers_in_the_version_it_is_asked_in[False]",
        CUSTODIAN,
        "return wire.encode_answer(message, receipt, request.version)",
        "return wire.encode_answer(message, receipt)",
    ),
    mutant(
        "reads a request of a version that is not spoken",
        "T6",
        "tests/federation/test_upgrade.py::test_a_version_that_is_not_spoken_is_refused_by_name[coordinator0-institution0]",
        WIRE,
        "if (version := version_of(data)) not in VERSIONS:",
        "if (version := version_of(data)) > 9:",
    ),
    mutant(
        "reads a refusal that carries a text",
        "P36",
        f"{KILLERS}::test_a_refusal_carries_a_known_code_alone",
        WIRE,
        'if payload or not _CODE.fullmatch(header["code"]):',
        "if payload:",
    ),
    Mutant(
        "writes a private key that others may read, and reads such keys",
        "A4",
        "tests/server/release/test_release.py::test_keys_are_private_and_checked",
        (
            Change(
                FILES,
                "        write_whole(aside / path.name, content)\n",
                "        write_whole(aside / path.name, content, 0o644)\n",
            ),
            Change(KEYS, "others_may(path.stat().st_mode, 0o077)", "others_may(path.stat().st_mode, 0o002)"),
        ),
    ),
    mutant(
        "lets any user of the machine ask",
        "6, process split",
        f"{KILLERS}::test_another_user_than_the_relays_is_not_let_in",
        GATE,
        "if peer_uid(outer) != self._uid or not self._make_room()",
        "if not self._make_room()",
    ),
    mutant(
        "answers from a table that was opened for another study",
        "P10",
        f"{CUSTODY}::test_a_table_is_never_answered_from_for_another_study",
        CUSTODIAN,
        "        wanted = (study.digest, run)\n",
        '        wanted = ("", run)\n',
    ),
)
