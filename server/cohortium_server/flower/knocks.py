"""What the coordinator logs about nodes that are refused: one line each, with a name instead of a key.

Flower logs an error with the whole public key at every attempt. That is not an error: a restarted node tries until the previous
one is missed, and a node that nobody has admitted tries until somebody does. Strangers may try with as many keys as they like,
so the number of lines about them is bounded.
"""

from __future__ import annotations

import ast
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cohortium.errors import CohortiumError
from cohortium.flower_names import KNOCKED, ONLY_ASKED
from cohortium_server.flower.roster import pem
from cohortium_server.membership.federation import Federation
from cohortium_server.membership.members import load_members

WHILE = 600.0  # seconds in which a node is reported once
MOST = 20  # nodes that are reported in that time


@dataclass
class Knocks(logging.Filter):
    """A filter of Flower's logger that turns a record about a refused node into one line, or drops it if it was reported already."""

    federation: Federation
    clock: Callable[[], float] = time.monotonic
    reported: dict[str, float] = field(default_factory=dict)

    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        if KNOCKED not in text:
            return True
        beginning, _, rest = text.partition(KNOCKED)
        if ONLY_ASKED in beginning:  # a question of institution check, or of a node about why it is refused
            return False
        line = self._line(rest)
        now = self.clock()
        self.reported = {who: at for who, at in self.reported.items() if now < at + WHILE}
        if line in self.reported or len(self.reported) >= MOST:
            return False
        self.reported[line] = now
        record.msg, record.args, record.levelno, record.levelname = line, (), logging.INFO, "INFO"
        record.exc_info = None
        return True

    def _line(self, rest: str) -> str:
        """The line to log. rest: the key as Python writes bytes, and why it was refused."""
        key = _key(rest)
        name = self._names().get(key)
        if name is None:
            shown = hashlib.sha256(key).hexdigest()[:16]
            return f"a node knocks whose key (SHA-256 {shown}…) is no member's; cohortium coordinator admit lets one in"
        return f"the node of {name} knocks; it is let in when it is registered, and the one before it is missed"

    def _names(self) -> dict[bytes, str]:
        try:
            return {pem(one.node): name for name, one in load_members(self.federation).items()}
        except (CohortiumError, OSError):  # the reconciler says so
            return {}


def _key(rest: str) -> bytes:
    """The bytes literal at the beginning of a text; empty where there is none."""
    literal = rest[: rest.find(rest[1:2], 2) + 1]
    try:
        key = ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        return b""
    return key if isinstance(key, bytes) else b""
