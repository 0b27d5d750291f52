"""Orderly shutdown of custodians in this process: every answer is finished before what it uses is closed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from types import TracebackType
from typing import Self

from cohortium.errors import FederationError
from cohortium_client.socket.service import Answering

SOON = 1.0  # seconds of waiting after which the reason is logged
_log = logging.getLogger("cohortium.simulation")


class Drain:
    """On leaving its ``with`` block, however that happens, admits no more requests and waits until all that are in are answered.

    A thread that still answered would use a closed ledger, or be in native code when the interpreter ends, which may crash
    the process. An interruption ends the waiting.
    """

    def __init__(self) -> None:
        self._changed, self._inside, self._shut = Condition(), 0, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self._shut = True
            if not self._changed.wait_for(self._is_empty, SOON):
                _log.warning("what is being answered is finished first; another Ctrl-C ends it at once")
            self._changed.wait_for(self._is_empty)

    def _is_empty(self) -> bool:
        return not self._inside

    @contextmanager
    def passing(self) -> Iterator[None]:
        """FederationError E_CUSTODIAN_GONE where they are shut."""
        with self._changed:
            if self._shut:
                raise FederationError("E_CUSTODIAN_GONE", "simulation", "it has ended", "Begin another one.")
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def before(self, custodian: Answering) -> Answering:
        """The custodian, whose answers this drain waits for."""
        return _Behind(self, custodian)


@dataclass(frozen=True)
class _Behind:
    drain: Drain
    custodian: Answering

    def answer(self, data: bytes) -> bytes:
        with self.drain.passing():
            return self.custodian.answer(data)
