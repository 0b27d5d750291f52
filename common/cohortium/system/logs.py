"""Logs of servers: one line per event, as text for people or JSON for machines, and never a data value.

Text from elsewhere is not trusted: a library's message, a warning or an exception's text may quote a cell. For those, a line
holds only their kind and origin. Only a process without data may pass on a library's messages, as the relay and the
coordinator do with Flower's; the text of an exception is left out there too. docs/logs.md lists the keys.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TextIO

from cohortium.errors import CODES, CohortiumError
from cohortium.flower_names import EVERY_SECOND, MODULE, RECONNECTED, RETRYING, Api

VARIABLE = "COHORTIUM_LOG"
FIELDS = ("code", "study", "run", "round", "attempt")
KEYS = ("at", "level", "process", "logger", "message", *FIELDS, "error")
OURS = "cohortium"
LONGEST = 2000  # letters of a message
TALKATIVE = (
    MODULE,
    "uvicorn",
    "uvicorn.access",
    "uvicorn.error",
)  # these add ways out of their own, whenever they like
_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(-----END [A-Z0-9 ]+-----|$)", re.DOTALL)  # PEM, of whatever
_ROUTINE = (Api.FLEET, Api.RUNTIME, Api.HEALTH)  # requested every few seconds; refusals are logged
_FOUR_HUNDRED = 400
_log = logging.getLogger(f"{OURS}.process")


class Style(StrEnum):
    TEXT = "text"
    JSON = "json"


class Placed(Protocol):
    """What belongs to a round: a request."""

    @property
    def study(self) -> str: ...
    @property
    def run(self) -> str: ...
    @property
    def round(self) -> int: ...
    @property
    def attempt(self) -> int: ...


def about(of: Placed | None = None, code: str | None = None, run: str | None = None) -> dict[str, Any]:
    """What a line is about, as ``extra`` of a logger's methods: a request or a run, and a code."""
    place = {} if of is None else {"study": of.study, "run": of.run, "round": of.round, "attempt": of.attempt}
    known = {"code": code, "run": run, **place}
    return {"about": {k: v for k, v in known.items() if v is not None}}


def without_text(error: BaseException) -> str:
    """What an error is and where it arose. Its text may quote a cell, and a log is read by many."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    place = ", ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames)
    return f"{type(error).__name__} at {place or 'no place'}"


def in_short(error: CohortiumError) -> str:
    """An error about data, or what it comes from, without its sentence, which may name a row."""
    code = error.__cause__.code if isinstance(error.__cause__, CohortiumError) else error.code
    return f"{code}: {CODES[code]}; cohortium institution check says where"


def choose(style: Style | None) -> None:
    """Have this process and those that it starts write so; None: as the environment has it."""
    if style is not None:
        os.environ[VARIABLE] = style


def wanted() -> Style:
    """The style set in the environment: JSON if it is ``json``, else text."""
    return Style.JSON if os.environ.get(VARIABLE) == Style.JSON else Style.TEXT


def set_up(process: str, style: Style | None = None, *, quoting: bool = False, stream: TextIO | None = None) -> None:
    """Let everything that this process logs leave as lines of one shape, on standard error. May be called again in a fork.

    process: as lines name it. style: by default what the environment asks for. quoting: whether messages of libraries are
    passed on; only for a process that holds no data.
    """
    global _set_up
    _set_up = style or wanted()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its core writes to standard error by itself
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Lines(process, _set_up, quoting))
    handler.addFilter(_is_logged)
    _make_the_only_way_out(handler)
    warnings.showwarning = _warned
    sys.excepthook = lambda _, error, __: _uncaught(error)
    threading.excepthook = lambda failure: _uncaught(failure.exc_value)
    sys.unraisablehook = lambda failure: _uncaught(failure.exc_value)


_set_up: Style | None = None


def named(process: str, work: Callable[[], object], *, quoting: bool = False) -> Callable[[], object]:
    """``work`` in a fork whose lines name ``process``."""

    def run() -> object:
        set_up(process, _set_up, quoting=quoting)
        return work()

    return run


def structured() -> bool:
    """Whether every line of this process is to be JSON."""
    return _set_up is Style.JSON


def _make_the_only_way_out(handler: logging.Handler) -> None:
    root = logging.getLogger()
    known = [one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    for logger in (root, *known, *map(logging.getLogger, TALKATIVE)):
        logger.handlers.clear()
        logger.propagate = True
    for name in TALKATIVE:
        logging.getLogger(name).addHandler = _not_added  # type: ignore[assignment]
    root.handlers.append(handler)
    logging.lastResort = handler  # for loggers that do not propagate
    root.setLevel(logging.WARNING)  # below it SQLAlchemy writes down rows, and httpx every request
    for name in (OURS, *TALKATIVE):
        logging.getLogger(name).setLevel(logging.INFO)


def _not_added(handler: logging.Handler) -> None:
    """Flower adds its handler when it is imported, and uvicorn its own when it starts."""


def _is_logged(record: logging.LogRecord) -> bool:
    """All but empty lines, Flower's successful routine requests, of which there is one every few seconds, and all but the
    first of its attempts to reach who is not there.
    """
    arguments = record.args
    if not record.msg or (record.name == MODULE and (record.msg in EVERY_SECOND or _is_another_attempt(record))):
        return False
    if record.name != "uvicorn.access" or not isinstance(arguments, tuple) or len(arguments) < 5:
        return record.levelno >= logging.INFO
    path, status = str(arguments[2]), arguments[4]
    return not (path.startswith(_ROUTINE) and isinstance(status, int) and status < _FOUR_HUNDRED)


_attempting = False  # since Flower last reached whom it wanted; a process has one that it wants


def _is_another_attempt(record: logging.LogRecord) -> bool:
    """Whether the record is about an attempt after the first."""
    global _attempting
    before = _attempting
    if record.msg in (RETRYING, RECONNECTED):
        _attempting = record.msg == RETRYING
    return before and record.msg == RETRYING


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _log.warning("%s at %s:%d", category.__name__, Path(filename).name, lineno)


def _uncaught(error: BaseException | None) -> None:
    if error is not None and not isinstance(error, (SystemExit, KeyboardInterrupt)):
        _log.critical("an error that nobody caught", exc_info=(type(error), error, error.__traceback__))


class _Lines(logging.Formatter):
    """A record as one line."""

    def __init__(self, process: str, style: Style, quoting: bool) -> None:
        super().__init__()
        self._process, self._as_json, self._quoting = process, style is Style.JSON, quoting

    def format(self, record: logging.LogRecord) -> str:
        content = self._content(record)
        return json.dumps(content) if self._as_json else _text(content)

    def _content(self, record: logging.LogRecord) -> dict[str, Any]:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"at": at, "level": record.levelname.lower(), "process": self._process, "logger": record.name}
        placed = getattr(record, "about", {})
        content = {**head, "message": self._message(record), **{k: placed[k] for k in FIELDS if k in placed}}
        error = record.exc_info[1] if record.exc_info else None
        return content if error is None else {**content, "error": without_text(error)}

    def _message(self, record: logging.LogRecord) -> str:
        if not self._quoting and record.name.partition(".")[0] != OURS:
            return f"a message of {record.name} at {record.filename}:{record.lineno}"
        try:
            message = _without_texts(record).getMessage()
        except (TypeError, ValueError, KeyError):
            message = f"a malformed message at {record.filename}:{record.lineno}"
        return " ".join(_KEY.sub("(a key)", message).split())[:LONGEST]


def _without_texts(record: logging.LogRecord) -> logging.LogRecord:
    """The record, where exceptions that are not ours stand without their texts."""
    safe = logging.makeLogRecord(vars(record))
    safe.msg = _safe(record.msg)
    if isinstance(record.args, tuple):
        safe.args = tuple(_safe(a) for a in record.args)
    elif record.args:
        safe.args = {k: _safe(v) for k, v in record.args.items()}
    return safe


def _safe(value: object) -> Any:
    is_foreign = isinstance(value, BaseException) and not isinstance(value, CohortiumError)
    return without_text(value) if is_foreign else value  # type: ignore[arg-type]


def _text(content: dict[str, Any]) -> str:
    """For people: a line that no letter in it can break or colour."""
    beside = ", ".join(f"{k} {content[k]}" for k in (*FIELDS, "error") if k in content)
    line = f"{content['at']} {content['level']} {content['process']}: {content['message']}"
    return "".join(c if c.isprintable() else "?" for c in (f"{line} ({beside})" if beside else line))
