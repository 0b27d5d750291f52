"""Flower as it is installed, held against everything that cohortium.flower_names says of it.

A new Flower that has changed something is red here, with what it has changed; nowhere else is any of it written down.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import logging
import sqlite3
from contextlib import closing
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import flwr
import pytest
from flwr.serverapp import Grid

from cohortium import flower_names
from cohortium.flower.executor import Forks
from cohortium.flower.internals import private, require_allowed
from cohortium.flower_names import Api, Call, LinkOption, NodeOption, Part, Status, Task, Variable
from cohortium_client.flower.registration import ahead_and_behind
from cohortium_server.flower.link import LOCKED, be_patient
from cohortium_simulation.engine import InProcessGrid

PARTS = [value for value in vars(flower_names).values() if isinstance(value, Part)]
KEYWORDS = {
    flower_names.SUPEREXEC: (
        "run_superexec",
        (
            "runtime_api_address",
            "insecure",
            "root_certificates_path",
            "superexec_auth_secret",
            "runtime_dependency_install",
        ),
    ),
    flower_names.CLIENTAPP: (
        "run_clientapp",
        ("runtime_api_address", "token", "insecure", "certificates", "parent_pid", "runtime_dependency_install"),
    ),
    flower_names.SERVERAPP: (
        "run_serverapp",
        (
            "runtime_api_address",
            "log_queue",
            "token",
            "insecure",
            "certificates",
            "parent_pid",
            "runtime_dependency_install",
        ),
    ),
    flower_names.NODE_LOOP: ("_pull_and_store_message", ("receive",)),
    flower_names.CONTROL: (
        "ControlHttpClient.from_server_address",
        ("server_address", "insecure", "root_certificates", "interceptors"),
    ),
    flower_names.INTERCEPTORS: ("RuntimeVersionHttpInterceptor", ("component_name",)),
    flower_names.OBJECTS: ("InMemoryObjectStore.delete", ()),
}
FIELDS = {
    "fleet_pb2.ActivateNodeRequest": {"public_key", "heartbeat_interval"},
    "control_pb2.RegisterNodeRequest": {"public_key", "name"},
    "control_pb2.UnregisterNodeRequest": {"node_id"},
    "control_pb2.StartRunRequest": {"fab", "override_config"},
    "control_pb2.StartRunResponse": {"run_id"},
    "control_pb2.StopRunRequest": {"run_id"},
    "control_pb2.ListNodesResponse": {"nodes_info"},
    "control_pb2.ListRunsResponse": {"run_dict"},
    "node_pb2.NodeInfo": {"node_id", "public_key", "status", "last_activated_at"},
    "message_pb2.ObjectTree": {"object_id", "children"},
    "message_pb2.PullObjectRequest": {"node", "run_id", "object_id"},
    "message_pb2.PullObjectResponse": {"object_found", "object_available", "object_content"},
    "runtime_pb2.PullAppMessagesResponse": {"messages_list", "message_object_trees"},
    "run_pb2.Run": {"status", "override_config"},
    "run_pb2.RunStatus": {"status"},
    "task_pb2.Task": {"type"},
}


def named(module: object, name: str) -> Any:
    for step in name.split("."):
        module = getattr(module, step)
    return module


@cache
def written() -> dict[str, str]:
    """The source of the installed Flower, by file."""
    (folder,) = flwr.__path__
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in Path(folder).rglob("*.py")}


@cache
def words() -> frozenset[str]:
    """Every text that stands in the installed Flower's source."""
    nodes = (n for source in written().values() for n in ast.walk(ast.parse(source)))
    return frozenset(n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.module)
def test_every_private_name_is_there(part: Part) -> None:
    assert isinstance(private(part), ModuleType)


def test_every_part_is_one_sides_and_is_looked_at_before_anything_is_served() -> None:
    assert set(PARTS) == {*flower_names.INSTITUTION, *flower_names.COORDINATOR, *flower_names.ENGINE}
    for side in (flower_names.INSTITUTION, flower_names.COORDINATOR, flower_names.ENGINE):
        assert flwr.__version__ in require_allowed(side)


@pytest.mark.parametrize("part", KEYWORDS, ids=lambda part: part.module)
def test_what_is_called_takes_what_it_is_given(part: Part) -> None:
    name, keywords = KEYWORDS[part]
    taken = inspect.signature(named(private(part), name)).parameters
    assert set(keywords) <= set(taken), name


@pytest.mark.parametrize("message", FIELDS)
def test_every_message_has_the_fields_that_are_read_and_written(message: str) -> None:
    module, name = message.split(".")
    found = getattr(import_module(f"flwr.proto.{module}"), name).DESCRIPTOR.fields_by_name
    assert FIELDS[message] <= set(found)


def test_the_link_waits_for_its_database_for_less_time_than_everybody_waits_for_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = private(flower_names.DATABASE)
    monkeypatch.setattr(database, "SQLITE_PRAGMAS", database.SQLITE_PRAGMAS)  # put back afterwards
    be_patient()
    with closing(sqlite3.connect(tmp_path / "link.db")) as connection:
        database._set_sqlite_pragmas(connection, None)
        (reported,) = connection.execute(f"PRAGMA {flower_names.WAITS}").fetchone()
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert reported == 1000 * LOCKED
    requests = inspect.signature(import_module("flwr.supercore.protobuf.client").ProtobufClient.__init__)
    assert requests.parameters["timeout"].default > LOCKED


def options(command: str) -> dict[str, argparse.Action]:
    """What a command of Flower's takes."""
    module = import_module({"link": flower_names.LINK, "node": flower_names.NODE}[command].module)
    (maker,) = (f for n, f in vars(module).items() if n.startswith("_parse_args_run_super"))
    return {text: action for action in maker()._actions for text in action.option_strings}


@pytest.mark.parametrize(("command", "ours"), [("link", LinkOption), ("node", NodeOption)])
def test_every_option_is_taken(command: str, ours: type[LinkOption] | type[NodeOption]) -> None:
    taken = options(command)
    assert [option for option in ours if option not in taken] == []
    assert flower_names.PROCESS in (taken["--isolation"].choices or ())


@pytest.mark.parametrize("variable", Variable)
def test_every_variable_is_read(variable: Variable) -> None:
    assert variable in words()


def test_every_switch_that_flower_has_over_doors_and_reports_is_set() -> None:
    """A new one that opens a port, reports or installs must be met with a decision."""
    switches = {w for w in words() if w.startswith(("FLWR_INTERNAL_", "FLWR_DISABLE_")) or w.endswith("_ENABLED")}
    known = {"FLWR_OIDC_ENABLED"}  # asks more of who starts runs, not less; off where it is not set
    assert {w for w in switches if w.startswith("FLWR_")} - known == set(flower_names.QUIET)


@cache
def routes() -> dict[str, list[str]]:
    """The paths that the link's application answers, and how each may be asked."""
    app = import_module(flower_names.LINK_APP.module).create_app()
    return {str(path): sorted(m.upper() for m in how) for path, how in app.openapi()["paths"].items()}


def test_every_path_is_answered() -> None:
    assert {Api.HEALTH, *Call} <= set(routes())


def test_every_path_is_an_apis_that_the_doors_know_of() -> None:
    strange = {path for path in routes() if not path.startswith((Api.FLEET, Api.CONTROL, Api.RUNTIME))}
    assert strange == {Api.HEALTH}


def test_requests_have_one_media_type() -> None:
    assert import_module("flwr.supercore.protobuf.constants").PROTOBUF_MEDIA_TYPE == flower_names.MEDIA_TYPE
    assert flower_names.SIGNATURE in words()


def test_tasks_are_called_so() -> None:
    kinds = import_module("flwr.supercore.constant").TaskType
    assert (kinds.CLIENT_APP, kinds.SERVER_APP) == (Task.CLIENTAPP, Task.SERVERAPP)


def test_statuses_of_nodes_and_runs_have_flowers_names() -> None:
    constants = import_module("flwr.common.constant"), import_module("flwr.supercore.constant")
    statuses = {getattr(m, "NodeStatus", None) or getattr(m, "Status", None) for m in constants}
    said = {str(value) for kind in statuses if kind for name, value in vars(kind).items() if name.isupper()}
    run = constants[0].Status.FINISHED
    assert run == Status.FINISHED
    assert {Status.ONLINE, Status.UNREGISTERED} <= said | words()


def test_messages_are_lost_and_apps_raise_by_these_numbers() -> None:
    codes = import_module("flwr.common.constant").ErrorCode
    assert (codes.CLIENT_APP_RAISED_EXCEPTION, codes.NODE_UNAVAILABLE) == (
        flower_names.APP_RAISED,
        flower_names.NODE_LOST,
    )
    assert import_module("flwr.common.constant").SUPERLINK_NODE_ID == flower_names.COORDINATORS_NODE


def test_a_node_reads_answers_in_a_way_that_we_stand_in_front_of() -> None:
    send = private(flower_names.NODE_LOOP)._push_messages
    (how,) = set(flower_names.ANSWERS_READ_BY) & set(send.__code__.co_names)
    assert hasattr(private(flower_names.NODE_STATE).InMemoryNodeState, how)


def test_a_node_sends_answers_by_what_we_stand_in_front_of() -> None:
    taken = inspect.signature(private(flower_names.NODE_LOOP)._push_messages).parameters
    assert {"send", "push_object", "state", "object_store"} <= set(taken)
    assert list(inspect.signature(private(flower_names.NODE_APP).create_app).parameters)[:2] == [
        "state_factory",
        "superexec_auth_secret",
    ]


def test_a_grid_speaks_over_the_client_that_it_is_given() -> None:
    grid = private(flower_names.GRID).HttpGrid("127.0.0.1:1", insecure=True, token="x")
    grid._client = client = object()
    assert grid._runtime_client is client
    assert "pull_objects" in private(flower_names.GRID).HttpGrid.pull_messages.__code__.co_names


def test_the_executor_is_what_flower_expects() -> None:
    protocol = import_module("flwr.supercore.superexec.executor.types").Executor
    wanted = {n for n in vars(protocol) if not n.startswith("_")}
    assert wanted <= set(dir(Forks(Task.CLIENTAPP, print, False)))


def test_the_engines_grid_has_all_that_a_grid_has() -> None:
    assert InProcessGrid.__abstractmethods__ == frozenset()
    assert set(Grid.__abstractmethods__) <= set(vars(InProcessGrid))


def test_the_tolerance_of_clocks_is_flowers_own() -> None:
    """What is sent is what its middleware compares with."""
    auth = import_module("flwr.superlink.routers.fleet.node_auth")
    source = " ".join(inspect.getsource(auth.authenticate_node).split())
    assert "-SYSTEM_TIME_TOLERANCE < age < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE" in source
    assert ahead_and_behind() == (auth.SYSTEM_TIME_TOLERANCE, auth.TIMESTAMP_TOLERANCE + auth.SYSTEM_TIME_TOLERANCE)


def test_the_keepers_looks_are_logged_in_these_words() -> None:
    assert set(flower_names.EVERY_SECOND) <= words()
    assert logging.getLogger(flower_names.MODULE) is private(flower_names.LOG).FLOWER_LOGGER
