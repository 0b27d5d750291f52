"""The relay: a Flower ClientApp that carries bytes between the network and the custodian, and has no data.

The node's own configuration, which the coordinator does not write, selects the custodian: ``socket``, where the
institution's custodian is served, or ``institution``, the name of one enrolled in this process. Only in Flower's
simulation, where one machine is the whole federation, does the relay open institutions' folders itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from cohortium.errors import CohortiumError, FederationError
from cohortium.federation.wire import Refusal, encode_refusal
from cohortium_client.socket.service import Answering, Connection

RECORD, FIELD = "cohortium", "message"


PATIENCE = 120.0  # seconds to wait for a custodian that has gone away to return

_custodians: dict[str, Answering] = {}


@dataclass(frozen=True)
class Patient:
    """A custodian that may die while it answers and be restarted: asked again, it sends the same bytes."""

    custodian: Answering
    patience: float

    def answer(self, data: bytes) -> bytes:
        until = time.monotonic() + self.patience
        while True:
            try:
                return self.custodian.answer(data)
            except FederationError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.2)


def enrol(node: str, custodian: Answering) -> None:
    """Let the relay of ``node`` reach a custodian of this process."""
    _custodians[node] = custodian


def dismiss(node: str) -> None:
    _custodians.pop(node, None)


def _custodian(context: Context) -> Answering:
    """FederationError E_CUSTODIAN_GONE if the node's configuration leads to no custodian."""
    if "socket" in context.node_config:
        return Patient(Connection(Path(str(context.node_config["socket"]))), PATIENCE)
    if "partition-id" in context.node_config:
        return _opened(_folder(context))
    try:
        return _custodians[str(context.node_config["institution"])]
    except KeyError:
        raise FederationError(
            "E_CUSTODIAN_GONE", "node configuration", "it leads to no custodian", "Set socket to where one is served."
        ) from None


def _opened(folder: Path) -> Answering:
    """The custodian of an institution's folder, opened once."""
    if str(folder) not in _custodians:
        from cohortium_client.custodian.institution import open_custodian

        enrol(str(folder), open_custodian(folder))
    return _custodians[str(folder)]


def _folder(context: Context) -> Path:
    """In Flower's simulation, the partition's folder of a federation.

    A real node has no partition, so the coordinator, who writes the run's configuration, cannot choose what it opens.
    """
    folders = sorted((Path(str(context.run_config["federation"])) / "institutions").iterdir())
    return folders[int(context.node_config["partition-id"])]


app = ClientApp()


@app.query("round")  # type: ignore[untyped-decorator]
def relay(message: Message, context: Context) -> Message:
    """Forward a request and return the custodian's reply, or a code."""
    return Message(RecordDict({RECORD: ConfigRecord({FIELD: _ask(message, context)})}), reply_to=message)


def _ask(message: Message, context: Context) -> bytes:
    try:
        return _custodian(context).answer(bytes(message.content[RECORD][FIELD]))
    except CohortiumError as error:
        return encode_refusal(Refusal("", error.code))
    except Exception:  # noqa: BLE001 - Flower would send the text of an exception to the coordinator
        return encode_refusal(Refusal("", "E_CUSTODIAN"))
