"""How a node stops on a signal: at once if it is idle, otherwise after the answer under way has been sent.

Flower's node drops whatever it is doing. Half an answer left behind is already charged, and the coordinator would have to ask
for it again when the institution is back.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from threading import Timer
from typing import Any

FINISHING = 60.0  # seconds that a node may take after a signal to have its answer made and to send it
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger("cohortium.node")


class Leaving:
    """Wraps Flower's two steps of a node, taking a message and sending the answer to it, in its main thread.

    A signal that arrives in between takes effect once the answer has been sent, or after ``patience`` seconds; a second one at once.
    """

    def __init__(self, patience: float = FINISHING) -> None:
        self._patience = patience
        self._flowers: dict[int, Any] = {}  # its own handlers, which end the node
        self._busy = False
        self._signal: int | None = None
        self._again: Timer | None = None

    def taking(self, take: Callable[..., Any]) -> Callable[..., Any]:
        """Flower's ``take`` (_pull_and_store_message): work begins with it, and ends there if no message came."""

        def step(*, receive: Callable[[], Any], **rest: Any) -> Any:
            self._stand_in_front()
            taken = take(receive=lambda: self._seen(receive()), **rest)
            if taken is None:
                self._idle()
            return taken

        return step

    def sending(self, send: Callable[..., Any]) -> Callable[..., Any]:
        """Flower's ``send`` (_push_messages), after which the work is done."""

        def step(**rest: Any) -> None:
            send(**rest)
            self._idle()

        return step

    def _stand_in_front(self) -> None:
        """Replace Flower's own handlers, which it has installed by the time a node first looks for messages."""
        if not self._flowers:
            self._flowers = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}

    def _seen(self, received: Any) -> Any:
        self._busy = received is not None
        return received

    def _idle(self) -> None:
        self._busy = False
        if self._signal is not None:
            self._leave(self._signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        if not self._busy or self._signal is not None:
            self._leave(number)
            return
        self._signal = number
        _log.info("asked to stop: the answer that is being made is sent first, within %.0f seconds", self._patience)
        self._again = Timer(self._patience, os.kill, (os.getpid(), number))
        self._again.daemon = True
        self._again.start()

    def _leave(self, number: int) -> None:
        """End as Flower does, which also notifies the coordinator. This does not return."""
        if self._again is not None:
            self._again.cancel()
        self._flowers[number](number, None)
