"""Secrets that reach a proxy, a log or other users, and databases whose own words are passed on."""

from __future__ import annotations

from mutant import Mutant, mutant

PROXIES = "common/cohortium/system/proxies.py"
ENVIRONMENT = "common/cohortium/flower/environment.py"
REFUSALS = "client/cohortium_client/source/refusals.py"
FOUNDING = "client/cohortium_client/commands/founding.py"
FEDERATION = "server/cohortium_server/membership/federation.py"
LISTENING = "common/cohortium/system/listening.py"
TEST_PROXIES = "tests/system/test_proxies.py"
TEST_REFUSALS = "tests/client/source/test_refusals.py"
TEST_LISTENING = "tests/system/test_listening.py"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "leaves the environment's proxies to the processes that speak over loopback",
        "A4",
        f"{TEST_PROXIES}::test_processes_that_speak_over_loopback_have_no_variable_of_a_proxy",
        ENVIRONMENT,
        "    use_only(None)\n",
        "",
    ),
    mutant(
        "asks the environment's proxy for this machine itself",
        "A4",
        f"{TEST_PROXIES}::test_the_environments_is_never_for_this_machine[127.0.0.1]",
        PROXIES,
        "    if is_of_this_machine(address.host):\n        return None\n",
        "",
    ),
    mutant(
        "shows a proxy's name and password wherever the proxy is named",
        "A4",
        f"{TEST_PROXIES}::test_a_proxy_that_lets_through[institution-u:s3cr3t]",
        PROXIES,
        'return f"http://{Address(self.host, self.port)}"',
        "return self.url",
    ),
    mutant(
        "takes a proxy's password that others may read",
        "A4",
        f"{TEST_PROXIES}::test_a_file_with_its_password_is_its_owners_alone[416-False]",
        PROXIES,
        "others_may(file.stat().st_mode, 0o077)",
        "others_may(file.stat().st_mode, 0o002)",
    ),
    mutant(
        "writes a proxy's password into a file that others may read",
        "A4",
        f"{TEST_PROXIES}::test_who_joins_with_a_relay_elsewhere_takes_the_setting_along",
        "client/cohortium_client/joining.py",
        "PUBLIC if relay.file.proxy is None else SECRET",
        "PUBLIC",
    ),
    mutant(
        "joins with a password that others may read",
        "A4",
        f"{TEST_REFUSALS}::test_join_makes_nothing_with_a_password_that_is_none[420-x]",
        FOUNDING,
        "        read_password(Path(password_file))\n",
        "",
    ),
    mutant(
        "tells the words of a database that does not let in",
        "A1",
        f"{TEST_REFUSALS}::test_an_account_that_is_not_admitted[another language]",
        REFUSALS,
        "return f\"the database at {place} does not let account {known['user']!r} into {known['database']!r}\", _ITS_LOG",
        "return text, _ITS_LOG",
    ),
    mutant(
        "tells a SQLSTATE that a function in the database has made up",
        "A1",
        f"{TEST_REFUSALS}::test_a_sqlstate_that_somebody_made_up_is_not_shown",
        REFUSALS,
        "    except KeyError:\n        return False\n",
        "    except KeyError:\n        return True\n",
    ),
    mutant(
        "lets the control door listen where others reach it",
        "T8",
        f"{TEST_LISTENING}::test_control_may_not_be_reached_by_others[[::]:8444]",
        FEDERATION,
        "    if not is_loopback(federation.control):\n",
        '    if not is_loopback(federation.control) and federation.control.host != "::":\n',
    ),
    mutant(
        "listens at more than the one address that was said",
        "T8",
        f"{TEST_LISTENING}::test_it_listens_at_the_given_address_and_at_no_other",
        LISTENING,
        "    host = host_of(address)\n",
        '    host = "0.0.0.0" if address.ip is not None and address.ip.version == 4 else host_of(address)\n',
    ),
)
