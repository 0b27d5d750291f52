"""An answer that is sent as a whole over a line that is cut: what had arrived already is no failure.

A request whose answer is lost on the way back is said again. The link then says of an object that it stored at the first time
that it was not stored, and of an answer that it has handed on that it wants nothing of it. Flower's node takes the one for a
failure and the other for success, and leaves half an answer behind either way.
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
    """``push`` (of Flower's, _push_messages), which sends all that the coordinator still waits for."""
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
