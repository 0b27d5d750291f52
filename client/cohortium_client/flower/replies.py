"""Which answer a node sends: the one to the message it has just taken, and no other.

A run that ends while its message is being taken leaves a task behind. Much later Flower reports that task as dead. A node
that is waiting for an answer would then send that report instead, and stay one answer behind from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cohortium.flower.internals import changed
from cohortium.flower_names import ANSWERS_READ_BY, NODE_LOOP


class Replies:
    """Wraps Flower's two steps of a node: taking a message, and sending the answer to it."""

    def __init__(self) -> None:
        self._asked = ""

    def taking(self, take: Callable[..., Any]) -> Callable[..., Any]:
        """Flower's ``take`` (_pull_and_store_message), observed to learn which message it takes."""
        return lambda *, receive, **rest: take(receive=lambda: self._seen(receive()), **rest)

    def _seen(self, received: Any) -> Any:
        if received is not None:
            self._asked = received[0].metadata.message_id
        return received

    def sending(self, send: Callable[..., Any]) -> Callable[..., Any]:
        """Flower's ``send`` (_push_messages), which finds only the answer to that message.

        WireError E_FLOWER if it reads answers in a way that is not covered here.
        """
        if not set(ANSWERS_READ_BY) & set(send.__code__.co_names):
            raise changed(f"{NODE_LOOP.module}.{send.__name__}")
        return lambda *, state, object_store, **rest: send(
            state=_Answered(state, object_store, self._asked), object_store=object_store, **rest
        )


class _Answered:
    """A node's state that shows only the answers to one message; others are deleted when met."""

    def __init__(self, state: Any, objects: Any, asked: str) -> None:
        self._state, self._objects, self._asked = state, objects, asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def get_messages_legacy(self, *, is_reply: bool) -> list[Any]:
        """How Flower reads them until 1.42."""
        return [m for m in self._state.get_messages_legacy(is_reply=is_reply) if self._is_wanted(m, "delete_messages")]

    def get_messages(self, *, dst_node_id: int, limit: int | None = None) -> list[Any]:
        """And from 1.43 on: of all that there are for the coordinator, the oldest."""
        found = self._state.get_messages(dst_node_id=dst_node_id)
        return [m for m in found if self._is_wanted(m, "cancel_messages")][:limit]

    def _is_wanted(self, reply: Any, forget: str) -> bool:
        of = reply.metadata
        if of.reply_to_message_id == self._asked:
            return True
        getattr(self._state, forget)(message_ids=[of.message_id, of.reply_to_message_id])
        self._objects.delete(of.message_id)
        return False
