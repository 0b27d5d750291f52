"""How long tasks tell where they are: three calls, whoever listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    def start(self, total: int, what: str) -> None: ...

    def advance(self, by: int = 1) -> None: ...

    def done(self) -> None: ...


class Silent:
    """Tells nobody."""

    def start(self, total: int, what: str) -> None:
        pass

    def advance(self, by: int = 1) -> None:
        pass

    def done(self) -> None:
        pass
