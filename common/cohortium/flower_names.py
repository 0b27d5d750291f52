"""All that is known here of Flower beyond its public interface: private modules and names, options, variables, paths, words.

Nobody else writes any of it down (tests/repository/test_house.py looks), and tests/contracts/test_flower.py holds every line against
the Flower that is installed: where a new one has changed something, that test reports what. Flower's own gRPC doors are no
part of this: all APIs are spoken over HTTP, and the variables that would open them are set to "0".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MODULE: Final = "flwr"  # the package, its distribution (or flwr-nightly), and its logger


@dataclass(frozen=True)
class Part:
    """A private module, and the names in it that are used; ``Client.Call`` is a name of a name."""

    module: str
    names: tuple[str, ...] = ()


def _part(module: str, *names: str) -> Part:
    return Part(f"{MODULE}.{module}", names)


# Both sides

SUPEREXEC = _part("supercore.superexec.run_superexec", "run_superexec", "get_executor")
LAUNCHES = _part("supercore.superexec.executor", "LaunchResult.accepted", "LaunchResult.failed")
EXITS = _part("supercore.exit.exit_handler", "registered_exit_handlers")
INTERCEPTORS = _part("supercore.interceptors", "RuntimeVersionHttpInterceptor")
LOG = _part("supercore.logger", "log", "FLOWER_LOGGER")
HTTP_LOG = _part("supercore.http_logging", "get_uvicorn_log_config")
BOTH = (SUPEREXEC, LAUNCHES, EXITS, INTERCEPTORS, LOG, HTTP_LOG)

# The institution's node, and what runs there

NODE = _part("supernode.cli.flower_supernode", "flower_supernode")
NODE_LOOP = _part("supernode.start_client_internal", "time", "_pull_and_store_message", "_push_messages")
NODE_STATE = _part("supernode.nodestate.in_memory_nodestate", "InMemoryNodeState")
OBJECTS = _part("supercore.object_store.in_memory_object_store", "InMemoryObjectStore.delete")
ANSWERS_READ_BY: Final = ("get_messages_legacy", "get_messages")  # in a node's state: until 1.42, and from 1.43 on
PUSHING = _part("supercore.inflatable.inflatable_utils", "ObjectPushError")
TREES = _part("supercore.inflatable.inflatable_object", "iterate_object_tree")
CLIENTAPP = _part("supernode.runtime.run_clientapp", "run_clientapp", "install_from_fab", "get_load_client_app_fn")
BEAT = _part("supercore.heartbeat", "HEARTBEAT_DEFAULT_INTERVAL")
NODE_BEAT = _part("supernode.fleet_http_connection", "HEARTBEAT_DEFAULT_INTERVAL")
TASK_BEAT = _part("supercore.corestate.in_memory_corestate", "HEARTBEAT_DEFAULT_INTERVAL")
CLOCKS = _part("common.constant", "SYSTEM_TIME_TOLERANCE", "TIMESTAMP_TOLERANCE")
FLEET = _part("supernode.fleet_http_client", "FleetHttpClient.from_server_address", "FleetHttpClient.ActivateNode")
FLEET_WORDS = _part("proto.fleet_pb2", "ActivateNodeRequest")
SIGNING = _part("supernode.node_auth_http_interceptor", "NodeAuthHttpInterceptor")
KEYS = _part("supercore.primitives.asymmetric", "public_key_to_bytes")
NODE_APP = _part("supernode.main", "create_app")
INSTITUTION = (
    *BOTH,
    *(NODE, NODE_APP, NODE_LOOP, NODE_STATE, OBJECTS, PUSHING, TREES, CLIENTAPP, BEAT, NODE_BEAT, TASK_BEAT),
    *(CLOCKS, FLEET, FLEET_WORDS, SIGNING, KEYS),
)

# The coordinator's link, and what runs studies there

LINK = _part("superlink.cli.flower_superlink", "uvicorn", "flower_superlink")
LINK_APP = _part("superlink.main")
DATABASE = _part(
    "supercore.sql_mixin", "SQLITE_PRAGMAS", "_set_sqlite_pragmas"
)  # of each connection to the link's database: names and values
WAITS: Final = "busy_timeout"  # the one of them that sets for how many milliseconds another's lock is waited for
SERVERAPP = _part("superlink.runtime.run_serverapp", "run_serverapp", "run_")
TLS = _part("supercore.tls", "validate_and_resolve_root_certificates")
CONTROL = _part(
    "supercore.control",
    "ControlHttpClient.from_server_address",
    "ControlHttpClient.ListNodes",
    "ControlHttpClient.ListRuns",
    "ControlHttpClient.RegisterNode",
    "ControlHttpClient.StartRun",
    "ControlHttpClient.StopRun",
    "ControlHttpClient.UnregisterNode",
    "ControlHttpClient.close",
)
CONTROL_WORDS = _part(
    "proto.control_pb2",
    "ListNodesRequest",
    "ListRunsRequest",
    "RegisterNodeRequest",
    "StartRunRequest",
    "StopRunRequest",
    "UnregisterNodeRequest",
)
RUNS = _part("common.serde", "fab_to_proto", "user_config_to_proto")
BUNDLES = _part("cli.build", "build_fab_from_disk")
FAB = _part("supercore.fab", "Fab")
GRID = _part(
    "superlink.grid.http_grid",
    "HttpGrid._runtime_client",  # what it has in ``_client``, connected
    "HttpGrid.pull_messages",
    "RuntimeHttpClient.PullMessages",
    "RuntimeHttpClient.PullObject",
)
OBJECT_WORDS = _part("proto.message_pb2", "PullObjectRequest", "PullObjectResponse")
COORDINATOR = (
    *(*BOTH, LINK, LINK_APP, DATABASE, SERVERAPP, TLS, CONTROL, CONTROL_WORDS, RUNS, BUNDLES, FAB),
    *(GRID, OBJECT_WORDS, TREES),
)

# The engine that needs no processes

MESSAGES = _part("common.serde", "message_to_proto", "message_from_proto")
IDENTITY = _part("supercore.task_identity", "TaskIdentity")
ENGINE = (MESSAGES, IDENTITY)
NUMBER: Final = "_message_id"  # where a message's metadata keep its number
COORDINATORS_NODE: Final = 1  # the number of the node that a ServerApp runs on
APP_RAISED: Final = 2  # the code of a ClientApp that raised
NODE_LOST: Final = 5  # and of a node that has gone with the message


class Task(StrEnum):
    """What an executor is asked to run."""

    CLIENTAPP = "flwr-clientapp"
    SERVERAPP = "flwr-serverapp"


class Api(StrEnum):
    """Under which each API answers, at one port."""

    FLEET = "/v1/fleet/"
    CONTROL = "/v1/control/"
    RUNTIME = "/v1/runtime/"
    HEALTH = "/health"


class Call(StrEnum):
    """Requests that are named here."""

    LIST_RUNS = f"{Api.CONTROL}list-runs"
    START_RUN = f"{Api.CONTROL}start-run"
    REGISTER_MEMBER = f"{Api.CONTROL}register-node"
    ACQUIRE_TASK = f"{Api.RUNTIME}acquire-task"
    PULL_APP_MESSAGES = f"{Api.RUNTIME}pull-messages"
    ACTIVATE_NODE = f"{Api.FLEET}activate-node"
    REGISTER_NODE = f"{Api.FLEET}register-node"
    PULL_MESSAGES = f"{Api.FLEET}pull-messages"
    PUSH_OBJECT = f"{Api.FLEET}push-object"


MEDIA_TYPE: Final = "application/protobuf"  # of every request and answer
SIGNATURE: Final = "flwr-signature"  # the header of a node's signature


class Status(StrEnum):
    """How Flower calls the states of nodes and runs."""

    ONLINE = "online"
    UNREGISTERED = "unregistered"
    FINISHED = "finished"


class Variable(StrEnum):
    """Read when Flower is imported, or when one of its processes starts."""

    HOME = "FLWR_HOME"
    TASK_POLL = "FLWR_SUPEREXEC_TASK_POLL_INTERVAL"
    TELEMETRY = "FLWR_TELEMETRY_ENABLED"
    TRACING = "FLWR_TRACING_ENABLED"
    NO_UPDATE_CHECK = "FLWR_DISABLE_UPDATE_CHECK"
    NO_INSTALLING = "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"
    GRPC_CONTROL = "FLWR_INTERNAL_GRPC_CONTROL_API"
    GRPC_FLEET = "FLWR_INTERNAL_GRPC_FLEET_API"
    LOCAL_HTTP_PORT = "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT"  # of the link that ``flwr run`` starts
    LOCAL_CONTROL_PORT = "FLWR_LOCAL_CONTROL_API_PORT"


QUIET: Mapping[str, str] = {
    Variable.TELEMETRY: "0",
    Variable.TRACING: "0",
    Variable.NO_UPDATE_CHECK: "1",
    Variable.NO_INSTALLING: "1",
    Variable.GRPC_CONTROL: "0",  # "1" opens a port beside our doors, which asks nobody who they are
    Variable.GRPC_FLEET: "0",
}
LINK_COMMAND: Final = "flower-superlink"
NODE_COMMAND: Final = "flower-supernode"


class LinkOption(StrEnum):
    """Of flower-superlink."""

    ROOT = "--ssl-ca-certfile"
    CERTIFICATE = "--ssl-certfile"
    KEY = "--ssl-keyfile"
    NODES_SIGN = "--enable-supernode-auth"
    ISOLATION = "--isolation"
    SECRET = "--superexec-auth-secret-file"  # noqa: S105 - the option, not what it names
    DATABASE = "--database"
    NO_INSTALLING = "--disable-runtime-dependency-installation"
    HOST = "--host"
    PORT = "--port"


class NodeOption(StrEnum):
    """Of flower-supernode."""

    LINK = "--superlink"
    ROOT = "--root-certificates"
    KEY = "--auth-supernode-private-key"
    HOST = "--host"
    PORT = "--port"
    ISOLATION = "--isolation"
    SECRET = "--superexec-auth-secret-file"  # noqa: S105 - the option, not what it names
    CONFIG = "--node-config"


PROCESS: Final = "process"  # the isolation in which Flower starts no process of its own
KNOCKED: Final = (
    "Attempted to register SuperNode with public key: "  # how a line of the link's log about a refused node begins
)
ONLY_ASKED: Final = "[ApiError:2003]"  # in the same line, of a node that only asked whether it is known
RETRYING: Final = "Connection attempt failed, retrying in %.2f seconds"  # logged at every attempt
RECONNECTED: Final = "Connection successful after %.2f seconds and %s tries."
EVERY_SECOND: Final = (
    "ControlServicer.ListNodes",
    "ControlServicer.ListRuns",
)  # what the link logs of the reconciler's looks
