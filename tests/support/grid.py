"""Flower's nodes as a coordinator sees them, each with answers that are set beforehand."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from flwr.app import ConfigRecord, Error, Message, RecordDict

from cohortium import flower_names
from cohortium_server.app import FIELD, RECORD, FlowerTransport


def lies(node: Any, reply: Message, to: Message, state: Any, objects: Any) -> None:
    """Put an answer where a node finds it, as the Flower that is installed does."""
    with_its_message = {"reply_to": to} if "reply_to" in inspect.signature(node._insert_message).parameters else {}
    node._insert_message(msg=reply, state=state, store=objects, **with_its_message)


@dataclass
class Grid:
    """Nodes by their numbers; of each, what its next messages come to: an answer, an error, or nothing yet."""

    does: dict[int, list[bytes | str | None]]
    keys: dict[int, bytes] = field(default_factory=dict)
    lives: dict[int, str] = field(default_factory=dict)
    absent: set[int] = field(default_factory=set)
    pushed: list[int] = field(default_factory=list)
    waiting: dict[str, Message] = field(default_factory=dict)
    swallow: dict[int, int] = field(default_factory=dict)  # how many messages to each are lost on the way

    def get_node_ids(self) -> list[int]:
        return [n for n in self.does if n not in self.absent]

    def get_nodes(self) -> list[Any]:
        return [
            SimpleNamespace(node_id=n, public_key=self.keys[n], last_activated_at=self.lives.get(n, ""))
            for n in self.get_node_ids()
        ]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        numbers = []
        for message in messages:
            node, number = message.metadata.dst_node_id, f"m{len(self.pushed)}"
            message.metadata.__dict__[flower_names.NUMBER] = number
            self.pushed.append(node)
            numbers.append(number)
            if self.swallow.get(node, 0):
                self.swallow[node] -= 1
            else:
                self.waiting[number] = message
        return numbers

    def pull_messages(self, numbers: Iterable[str]) -> list[Message]:
        found = []
        for number in numbers:
            message = self.waiting.get(number)
            does = self.does[message.metadata.dst_node_id] if message else []
            if message is None or not does or does[0] == "silent":
                continue
            reported = does.pop(0)
            reply: Any = Error(5, "lost") if reported is None else RecordDict({RECORD: ConfigRecord({FIELD: reported})})
            found.append(Message(reply, reply_to=message))
            del self.waiting[number]
        return found


def replies(grid: Grid, patience: float, timeout: float = 60.0, **how: Any) -> list[bytes]:
    return sorted(FlowerTransport(grid, how.pop("nodes", len(grid.does)), patience, **how).exchange(b"q", timeout))  # type: ignore[arg-type]
