"""The relay: a Flower ClientApp that carries bytes between the network and the custodian, and has no data.

This is the only module of the institution's side that imports Flower. Which custodian answers follows from the node's
own configuration: ``institution``, the name of one enrolled in this process or the path of an institution folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from cohortium.errors import CohortiumError
from cohortium.wire import Refusal, encode_refusal

RECORD, FIELD = "cohortium", "message"


class Answering(Protocol):
    """A custodian as the relay sees it."""

    def answer(self, data: bytes) -> bytes: ...


_custodians: dict[str, Answering] = {}


def enrol(node: str, custodian: Answering) -> None:
    """Let the relay of ``node`` reach a custodian of this process."""
    _custodians[node] = custodian


def dismiss(node: str) -> None:
    _custodians.pop(node, None)


def _custodian(context: Context) -> Answering:
    """The node's custodian: enrolled in this process, or opened once from its institution folder."""
    place = _place(context)
    if place not in _custodians:
        from cohortium_client.institution import open_custodian

        enrol(place, open_custodian(Path(place)))
    return _custodians[place]


def _place(context: Context) -> str:
    """``institution`` of the node's configuration; in Flower's simulation, the partition's folder of a federation.

    A real node has no partition, so the coordinator, who writes the run's configuration, cannot choose what it opens.
    """
    if "partition-id" not in context.node_config:
        return str(context.node_config["institution"])
    folders = sorted((Path(str(context.run_config["federation"])) / "institutions").iterdir())
    return str(folders[int(context.node_config["partition-id"])])


app = ClientApp()


@app.query("round")  # type: ignore[untyped-decorator]
def relay(message: Message, context: Context) -> Message:
    """Forward a request and send back what the custodian says, or a code."""
    return Message(RecordDict({RECORD: ConfigRecord({FIELD: _ask(message, context)})}), reply_to=message)


def _ask(message: Message, context: Context) -> bytes:
    try:
        return _custodian(context).answer(bytes(message.content[RECORD][FIELD]))
    except CohortiumError as error:
        return encode_refusal(Refusal("", error.code))
    except Exception:  # noqa: BLE001 - Flower would send the text of an exception to the coordinator
        return encode_refusal(Refusal("", "E_CUSTODIAN"))
