"""Logs and metrics that tell more than they should, and preflights that see nothing wrong."""

from __future__ import annotations

from mutant import Mutant, mutant

CHECKS = "common/cohortium/system/checks.py"
LOGS = "common/cohortium/system/logs.py"
METRICS = "client/cohortium_client/metrics.py"
EXPOSITION = "common/cohortium/system/metrics.py"
PREFLIGHT = "server/cohortium_server/preflight.py"
PROBE = "common/cohortium/federation/probe.py"
FILENAMES, LOCKS, SIGNALS, SYSTEM = (
    f"common/cohortium/system/{name}.py" for name in ("filenames", "locks", "signals", "platforms")
)
BESIDE = "common/cohortium/system/side_by_side.py"
SUPERVISION, KNOCKS = "common/cohortium/system/supervision.py", "server/cohortium_server/flower/knocks.py"
ORDERS, APP, KNOCKING = (
    "server/cohortium_server/desired_state.py",
    "server/cohortium_server/jobs.py",
    "client/cohortium_client/flower/knocking.py",
)
TEST_START, TEST_ORDERS = "tests/commands/test_starting.py", "tests/server/flower/test_orders.py"
TEST_NAMES, TEST_SYSTEM = "tests/system/test_filenames.py", "tests/system/test_system.py"
TEST_LOGS, TEST_METRICS, TEST_CHECKS = (
    "tests/system/test_logs.py",
    "tests/system/test_metrics.py",
    "tests/commands/test_operations.py",
)

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "passes on what libraries say beside the data",
        "P36",
        f"{TEST_LOGS}::test_libraries_are_not_quoted_where_there_are_data",
        LOGS,
        "if not self._quoting and record.name",
        "if False and record.name",
    ),
    mutant(
        "writes the text of a library's exception into a log",
        "P36",
        f"{TEST_LOGS}::test_libraries_are_quoted_elsewhere_but_their_exceptions_are_not",
        LOGS,
        "return without_text(value) if is_foreign else value",
        "return value",
    ),
    mutant(
        "writes the text of a warning into a log",
        "P36",
        f"{TEST_LOGS}::test_libraries_are_not_quoted_where_there_are_data",
        LOGS,
        '_log.warning("%s at %s:%d", category.__name__, ',
        '_log.warning("%s at %s:%d", message, ',
    ),
    mutant(
        "writes the sentence of an error about data into a log",
        "P36",
        f"{TEST_LOGS}::test_whatever_fails_beside_the_data_no_line_quotes_it[json-an error about data]",
        LOGS,
        'return f"{code}: {CODES[code]}; cohortium institution check says where"',
        "return str(error)",
    ),
    mutant(
        "adds the exception's text to a line of JSON",
        "P36",
        f"{TEST_LOGS}::test_libraries_are_quoted_elsewhere_but_their_exceptions_are_not",
        LOGS,
        'return content if error is None else {**content, "error": without_text(error)}',
        'return content if error is None else {**content, "error": repr(error)}',
    ),
    mutant(
        "serves an institution's metrics to other machines unasked",
        "P36",
        f"{TEST_METRICS}::test_elsewhere_only_where_somebody_has_decided_so[0.0.0.0:9465]",
        METRICS,
        "if not (anywhere or is_loopback(address)):",
        "if not (anywhere or is_loopback(address) or address.ip):",
    ),
    mutant(
        "exports the memory and processor time of a custodian",
        "P36",
        f"{TEST_METRICS}::test_it_is_served_on_this_machine_with_every_metric_of_the_docs",
        EXPOSITION,
        "    registry = CollectorRegistry()\n",
        "    from prometheus_client import REGISTRY\n\n    registry = REGISTRY\n",
    ),
    mutant(
        "prints why metrics could not be taken",
        "P36",
        f"{TEST_METRICS}::test_what_fails_while_metrics_are_taken_is_not_quoted",
        EXPOSITION,
        'metrics could not be taken: %s", without_text(error))',
        'metrics could not be taken: %s", error)',
    ),
    mutant(
        "speaks to a coordinator whose certificate nobody vouches for",
        "T3",
        f"{TEST_CHECKS}::test_another_ca",
        PROBE,
        "    context.minimum_version",
        "    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n    context.minimum_version",
    ),
    mutant(
        "finds nothing wrong with an outer door that knows the private paths",
        "T3",
        f"{TEST_CHECKS}::test_an_outer_door_that_knows_more_than_it_should[list-runs]",
        PREFLIGHT,
        "        if status != NOT_FOUND:",
        "        if status == OK:",
    ),
    mutant(
        "takes a lock that somebody else holds",
        "5.1",
        f"{TEST_SYSTEM}::test_who_holds_a_lock_excludes_all_others",
        LOCKS,
        "    except LockException:\n        return False\n    return True",
        "    except LockException:\n        return True\n    return True",
    ),
    mutant(
        "waits for nobody before it writes the newest head",
        "T9",
        f"{TEST_SYSTEM}::test_who_wants_to_be_alone_waits_and_then_is",
        LOCKS,
        "    _wait(lock, LockFlags.EXCLUSIVE)\n    try:",
        "    _wait(lock, LockFlags.SHARED)\n    try:",
    ),
    mutant(
        "takes every system for one without modes",
        "A3",
        f"{TEST_SYSTEM}::test_where_there_are_modes_a_secret_is_its_owners_alone[416]",
        SYSTEM,
        "return POSIX and bool(mode & bits)",
        "return not POSIX and bool(mode & bits)",
    ),
    mutant(
        "serves where the system does not tell who connects",
        "T3",
        f"{TEST_SYSTEM}::test_where_nobody_can_tell_who_connects_nobody_serves[institution serve]",
        SYSTEM,
        "    if not SERVES:",
        "    if not SERVES and not POSIX:",
    ),
    mutant(
        "lets two institutions of a simulation have one ledger where case does not count",
        "5.1",
        f"{TEST_NAMES}::test_no_simulation_is_begun_whose_ledgers_would_be_one_file[names0]",
        FILENAMES,
        "known.setdefault(name.casefold(), name)",
        "known.setdefault(name, name)",
    ),
    mutant(
        "misses a signal that another thread got",
        "waits on a lock, as Python's queues and events do",
        "tests/system/test_signals.py::test_a_signal_is_handled_that_another_thread_got[15]",
        SIGNALS,
        "lambda *_: None",
        "lambda number, _: wakes.send(bytes([number]))",
        ("before_fd = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)", "before_fd = -1"),
    ),
    mutant(
        "lets a command keep waiting after a signal, if another thread got it",
        "signals interrupt waits",
        "tests/system/test_signals.py::test_whoever_waits_looks_up_at_once_and_goes_on_waiting",
        SIGNALS,
        "            self._poke()",
        "            pass",
    ),
    mutant(
        "forks beside the thread that watches for signals",
        "what it holds at that moment is held in the fork for ever",
        "tests/system/test_signals.py::test_who_keeps_others_alive_forks_without_a_thread_beside_it",
        SUPERVISION,
        "    with unwatched():\n        return",
        "    with contextlib.nullcontext():\n        return",
    ),
    mutant(
        "fits on for whoever has been interrupted",
        "nobody waits for it",
        "tests/system/test_side_by_side.py::test_an_interruption_ends_all_before_it_goes_on",
        BESIDE,
        "            over.set()",
        "            pass",
    ),
    mutant(
        "rehearses twice by the same chance",
        "errors that are alike say that they are all there is",
        "tests/server/release/test_answers.py::test_rehearsals_side_by_side_are_what_they_are_alone",
        BESIDE,
        "return [one.result() for one in running]",
        "return [running[0].result() for one in running]",
    ),
    mutant(
        "writes the text of an exception into the folder of the run that fell by it",
        "P36",
        f"{TEST_ORDERS}::test_the_third_equal_end_of_a_studys_process_ends_its_run_which_can_be_resumed",
        APP,
        "place = without_text(error)",
        'place = without_text(error) + f": {error}"',
    ),
    mutant(
        "lets a library write a key into a log",
        "P36",
        f"{TEST_START}::test_no_line_holds_a_key_whoever_writes_it",
        LOGS,
        '_KEY.sub("(a key)", message)',
        "message",
    ),
    mutant(
        "logs a node at every connection attempt",
        "one line for each reason",
        f"{TEST_START}::test_a_node_that_knocks_again_and_again_is_one_line_at_info",
        KNOCKS,
        "if line in self.reported or len(self.reported) >= MOST:",
        "if len(self.reported) >= MOST:",
    ),
    mutant(
        "starts a study's process again for ever, however it falls",
        "three equal ends are no accident",
        f"{TEST_ORDERS}::test_the_third_equal_end_of_a_studys_process_ends_its_run_which_can_be_resumed",
        ORDERS,
        "if (cause and same) or len(known) >= MOST_FALLS:",
        "if len(known) >= MOST_FALLS:",
    ),
    mutant(
        "gives up a run whose process is killed three times",
        "SIGKILL at any time is borne",
        f"{TEST_ORDERS}::test_kills_are_borne_longer_than_errors",
        ORDERS,
        "if (cause and same) or len(known) >= MOST_FALLS:",
        "if same or len(known) >= MOST_FALLS:",
    ),
    mutant(
        "starts a child again for ever that refuses",
        "a refusal is reported once, and ends the service",
        "tests/system/test_supervision.py::test_a_child_that_refuses_when_it_is_first_started_ends_all_with_its_code[unable-unable-17]",
        SUPERVISION,
        "if end.refused and one.restarts == 0 and not one.well:",
        "if end.refused and one.restarts == 7 and not one.well:",
    ),
    mutant(
        "serves a federation whose certificate has expired",
        "what serves looks first",
        f"{TEST_START}::test_an_expired_certificate_is_refused_and_one_that_expires_soon_is_reported",
        PREFLIGHT,
        "    authority.check_server(federation, datetime.now(UTC))\n    load_members",
        "    load_members",
    ),
    mutant(
        "logs at every connection attempt why a node is kept out",
        "one line for each reason",
        f"{TEST_START}::test_a_node_waits_for_a_coordinator_that_is_not_there_with_one_line",
        KNOCKING,
        "if str(now) != str(why):",
        "if now is not why:",
    ),
)
