"""Sending a whole answer over a connection that breaks: what has already arrived is not an error.

A request whose response is lost is sent again. The link then reports an object that it stored the first time as not stored, and
for an answer it has already passed on reports that no object is needed. Flower's node takes the first for a failure and the
second for success, and leaves half an answer behind either way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from cohortium.flower.internals import private
from cohortium.flower_names import PUSHING, TREES

ANY_SESSION = ""  # the link then finds out by itself for whom an object was announced
_log = logging.getLogger("cohortium.node")


def sent_whole(push: Callable[..., Any]) -> Callable[..., Any]:
    """Flower's ``push`` (_push_messages), which sends all that the coordinator still waits for."""
    failed = private(PUSHING).ObjectPushError
    parts = private(TREES).iterate_object_tree

    def step(*, send: Callable[..., Any], push_object: Callable[..., Any], object_store: Any, **rest: Any) -> None:
        def announced(message: Any, tree: Any, seconds: float) -> tuple[set[str], str]:
            wanted, session = send(message, tree, seconds)
            root = message.metadata.message_id
            if wanted or not stored(message.metadata.run_id, ANY_SESSION, root, object_store.get(root)):
                return wanted, session
            return {part.object_id for part in parts(tree)} - {root}, ANY_SESSION

        def stored(run: int, session: str, number: str, content: bytes) -> bool:
            try:
                push_object(run, session, number, content)
            except failed:
                _log.debug("a part of the answer had arrived already, or is wanted no more")
                return False
            return True

        push(send=announced, push_object=stored, object_store=object_store, **rest)

    return step
