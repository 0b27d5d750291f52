"""The one interface to the network: the same bytes to every institution, one answer from each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Transport(Protocol):
    """Sends a request to every node and gathers what comes back in time. Order and origin mean nothing:
    an answer names its institution itself.
    """

    def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]: ...

    def announce(self, request: bytes) -> None:
        """Send what needs no answer to whoever is there. Nothing waits for it, and it may be lost."""
        ...


class Nobody:
    """A transport without institutions: what the journal does not remember stays unanswered."""

    def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]:
        return []

    def announce(self, request: bytes) -> None:
        pass
