"""Complete answers only: what a study's process receives of its institutions' messages.

Flower's link reports an answer as soon as its sender has announced it, and a grid then waits for the rest of it, up to three
minutes if the sender has gone, while no other institution is received from or asked. Here an announced answer is set aside until
its last object has arrived; each poll takes what is complete and waits for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cohortium.flower.internals import private
from cohortium.flower_names import GRID, OBJECT_WORDS, TREES


@dataclass
class _Coming:
    """An answer that was announced. missing: the objects that have not come yet. lost: whether one will never come."""

    message: Any
    tree: Any
    missing: list[str]
    contents: dict[str, bytes] = field(default_factory=dict)
    lost: bool = False

    @property
    def asked(self) -> str:
        """The number of the message that it answers."""
        return str(self.message.metadata.reply_to_message_id)


class WholeAnswers:
    """Flower's grid, handing over complete answers only and never waiting for one. Everything else is the grid's own."""

    def __init__(self, grid: Any) -> None:
        self._grid = grid
        self._client = _Client(grid._runtime_client, self._object)
        self._words = private(OBJECT_WORDS)
        grid._client = self._client  # the grid's own pull_messages goes on, over what is whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Any]:
        """The answers to these messages that have come and were not handed over before."""
        asked = set(message_ids)
        self._client.forget_but(asked)
        return list(self._grid.pull_messages(sorted(asked - self.arriving)))  # the link has forgotten the others

    @property
    def arriving(self) -> frozenset[str]:
        """The messages whose answers were announced and are not there yet."""
        return frozenset(one.asked for one in self._client.coming.values())

    def is_taken(self, number: str) -> bool:
        """Whether the node has received a message; if not, the message waits for it at the link, or was lost on the way."""
        return not self._object(number).object_found  # the link deletes what the receiver has confirmed

    def _object(self, number: str) -> Any:
        grid = self._grid
        request = self._words.PullObjectRequest(node=grid.node, run_id=grid.run.run_id, object_id=number)
        return self._client.pull(request)


def whole(grid: Any) -> Any:
    """A grid that hands over complete answers only: one that polls a link is wrapped, others do so anyway."""
    return WholeAnswers(grid) if isinstance(grid, private(GRID).HttpGrid) else grid


class _Client:
    """Wraps the client with which a grid calls the link."""

    def __init__(self, client: Any, look: Any) -> None:
        self._client, self._look = client, look
        self._trees = private(TREES)
        self._found: dict[str, bytes] = {}  # of what is being handed over
        self.coming: dict[str, _Coming] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @property
    def pull(self) -> Any:
        return self._client.PullObject

    def forget_but(self, asked: set[str]) -> None:
        """Forget the answers to all other messages: nobody waits for them any more."""
        self.coming = {number: one for number, one in self.coming.items() if one.asked in asked}

    def PullMessages(self, request: Any) -> Any:  # noqa: N802 - as Flower calls it
        """The answers announced now or before that are complete by now."""
        announced = self._client.PullMessages(request)
        for message, tree in zip(announced.messages_list, announced.message_object_trees, strict=True):
            objects = [part.object_id for part in self._trees.iterate_object_tree(tree)]
            self.coming[message.metadata.message_id] = _Coming(message, tree, list(dict.fromkeys(objects)))
        whole = [one for one in self.coming.values() if self._is_settled(one)]
        self._found = {}
        for one in whole:
            del self.coming[one.message.metadata.message_id]
            self._found.update({} if one.lost else one.contents)
        messages, trees = [one.message for one in whole], [one.tree for one in whole]
        return type(announced)(messages_list=messages, message_object_trees=trees)

    def PullObject(self, request: Any) -> Any:  # noqa: N802
        """From memory, an object that was pulled when its answer was checked for completeness; any other from the link."""
        content = self._found.get(request.object_id)
        if content is None:
            return self.pull(request)
        return private(OBJECT_WORDS).PullObjectResponse(
            object_found=True, object_available=True, object_content=content
        )

    def _is_settled(self, one: _Coming) -> bool:
        """Whether an answer has come completely or never will; stops at the first object that is missing."""
        while one.missing:
            found = self._look(one.missing[-1])
            if not found.object_available:
                one.lost = not found.object_found
                return one.lost
            one.contents[one.missing.pop()] = found.object_content
        return True
