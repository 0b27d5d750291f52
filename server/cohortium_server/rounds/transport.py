"""The one interface to the network: the same bytes to every institution, one answer from each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Transport(Protocol):
    """Sends a request to every node and yields the answers that arrive in time. Order and origin mean nothing:
    an answer names its institution itself.
    """

    def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]: ...

    def announce(self, request: bytes) -> None:
        """Send a message that needs no answer to all who are online. Nothing waits for it, and it may be lost."""
        ...


class Nobody:
    """A transport without institutions: rounds that the journal lacks stay unanswered."""

    def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]:
        return []

    def announce(self, request: bytes) -> None:
        pass
