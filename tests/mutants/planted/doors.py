"""Who reaches what over Flower: the doors of the coordinator, and what runs at an institution's node."""

from __future__ import annotations

from mutant import Mutant, mutant

LINK = "server/cohortium_server/flower/link.py"
ROSTER = "server/cohortium_server/flower/roster.py"
APP = "server/cohortium_server/app.py"
RELAY = "client/cohortium_client/app.py"
REPLIES = "client/cohortium_client/flower/replies.py"
LAUNCHER = "client/cohortium_client/flower/launcher.py"
EXECUTOR = "common/cohortium/flower/executor.py"
NAMES = "common/cohortium/flower_names.py"
INTERNALS = "common/cohortium/flower/internals.py"
SERVED = "tests/flower/test_served_flower.py"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "opens every path of Flower's to the institutions",
        "F2",
        f"{SERVED}::test_the_outer_door_opens_for_the_fleet_alone",
        LINK,
        'return str(scope["path"]).startswith(Api.FLEET)',
        "return True",
    ),
    mutant(
        "opens the Control API to the institutions",
        "F2",
        f"{SERVED}::test_the_outer_door_opens_for_the_fleet_alone",
        LINK,
        'return str(scope["path"]).startswith(Api.FLEET)',
        'return str(scope["path"]).startswith((Api.FLEET, Api.CONTROL))',
    ),
    mutant(
        "lets whoever is on the machine start runs",
        "F2",
        f"{SERVED}::test_the_inner_door_wants_the_secret_where_runs_are_started",
        LINK,
        "return len(shown) == 1 and hmac.compare_digest(shown[0], wanted)",
        "return True",
    ),
    mutant(
        "takes any secret for the control secret",
        "F2",
        f"{SERVED}::test_the_inner_door_wants_the_secret_where_runs_are_started",
        LINK,
        "return len(shown) == 1 and hmac.compare_digest(shown[0], wanted)",
        "return len(shown) == 1",
    ),
    mutant(
        "unpacks the bundle that the coordinator sends",
        "F2",
        f"{SERVED}::test_whatever_bundle_arrives_the_installed_relay_answers",
        LAUNCHER,
        "    tasks.install_from_fab = lambda *_, **__: None\n",
        "",
    ),
    mutant(
        "runs the app that the bundle names",
        "F2",
        f"{SERVED}::test_whatever_bundle_arrives_the_installed_relay_answers",
        LAUNCHER,
        "    tasks.get_load_client_app_fn = lambda *_, **__: lambda *_, **__: app\n",
        "",
    ),
    mutant(
        "runs what it can where Flower has changed",
        "F2",
        f"{SERVED}::test_a_missing_part_of_flower_is_refused",
        INTERNALS,
        '            raise changed(f"{part.module}.{name}")\n',
        "            pass\n",
    ),
    mutant(
        "runs any kind of task that the coordinator sends",
        "F2",
        f"{SERVED}::test_only_the_one_kind_of_task_is_run",
        EXECUTOR,
        "        if str(spec.task_type) != self._kind:\n",
        "        if False:\n",
    ),
    mutant(
        "asks every node there is, whoever's it may be",
        "T3",
        f"{SERVED}::test_only_members_are_asked",
        APP,
        "if node.public_key in self.members]",
        "]",
    ),
    mutant(
        "asks a member that has another key than the study names",
        "T3",
        "tests/server/flower/test_orders.py::test_only_members_by_the_studys_keys_are_asked",
        ROSTER,
        "        if member is None or member.key != one.key:\n",
        "        if member is None:\n",
    ),
    mutant(
        "lets Flower open a door of its own beside the coordinator's",
        "F2",
        "tests/contracts/test_flower.py::test_every_switch_that_flower_has_over_doors_and_reports_is_set",
        NAMES,
        '    Variable.GRPC_CONTROL: "0",',
        '    # Variable.GRPC_CONTROL: "0",',
    ),
    mutant(
        "stands in front of no answer where a node reads them in another way",
        "F3",
        f"{SERVED}::test_a_way_of_reading_answers_that_is_not_stood_in_front_of_is_refused",
        REPLIES,
        "        if not set(ANSWERS_READ_BY) & set(send.__code__.co_names):",
        "        if False:",
    ),
    mutant(
        "sends whatever answer lies about at a node",
        "F3",
        f"{SERVED}::test_a_node_sends_the_answer_to_the_message_it_took_and_none_that_lies_about",
        REPLIES,
        "if of.reply_to_message_id == self._asked:",
        "if of.reply_to_message_id:",
    ),
)
