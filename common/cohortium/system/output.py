"""What commands print: results on stdout, all else on stderr; of an error one line, and its exit code."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from signal import Signals
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cohortium.errors import CohortiumError
from cohortium.system import logs
from cohortium.system.platforms import of_the_system
from cohortium.system.progress import Late, Progress, Silent
from cohortium.system.signals import OVER, number_of
from cohortium.system.texts import for_terminal, is_unseen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from cohortium.system.checks import Check

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output and nothing else there.")]
LogStyle = Annotated[
    logs.Style | None,
    typer.Option("--log", help="Format of the log; by default that of COHORTIUM_LOG, or text (docs/logs.md)."),
]
WORTH_A_LINE = 5.0  # seconds that an activity must last before the log mentions it
_log = logging.getLogger("cohortium.commands")


@contextmanager
def guarded(as_json: bool = False) -> Iterator[None]:
    """Turns a CohortiumError, or a signal that ends the command, into an exit code and one line on stderr, or one JSON object
    on stdout.
    """
    try:
        yield
    except CohortiumError as error:
        _print_error(error, error.exit_code, as_json)
    except OSError as error:
        _print_error(of_system := of_the_system(error), of_system.exit_code, as_json)
    except KeyboardInterrupt as error:
        report, error.reported = interrupted(error), True  # type: ignore[attr-defined]
        with suppress(OSError):  # the terminal may be gone
            _print_error(report, OVER + number_of(error), as_json)
        raise typer.Exit(OVER + number_of(error)) from None


def interrupted(error: KeyboardInterrupt) -> CohortiumError:
    """The error that reports which signal ended a command, and what is left behind."""
    left = getattr(error, "left", None) or (
        "the command was interrupted, and nothing of it is still running; each file is complete or absent",
        "Run it again",
    )
    return CohortiumError("E_INTERRUPTED", Signals(number_of(error)).name, left[0], f"{left[1]}.")


def _print_error(error: CohortiumError, exit_code: int, as_json: bool) -> NoReturn:
    _close_bars()
    if as_json:
        print_json({"error": error.as_dict()})
    else:
        print_status(" ".join(str(error).split()), code=error.code)
    raise typer.Exit(exit_code) from None


def print_json(value: Any) -> None:
    """One object on a line, in letters that its reader can have, whatever the encoding of standard output: JSON can write all
    in ASCII. Letters that a terminal would obey are written as JSON's escapes.
    """
    text = json.dumps(value, ensure_ascii=not _is_utf8(sys.stdout), allow_nan=False)
    typer.echo("".join(json.dumps(c)[1:-1] if is_unseen(c) else c for c in text))


def show_all_letters() -> None:
    """Let what standard output and error cannot write be written as numbers; a redirected Windows shell has few letters."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and not _is_utf8(stream):
            stream.reconfigure(errors="backslashreplace")


def _is_utf8(stream: object) -> bool:
    return str(getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") in ("utf8", "utf8sig")


def print_result(*lines: str) -> None:
    """Lines of a result, on standard output. Each is one line, whatever names are in it."""
    typer.echo("\n".join(map(for_terminal, lines)))


def print_status(*lines: str, code: str | None = None) -> None:
    """Lines for the person at the screen, which never mix with results; lines of the log where logs are JSON."""
    if logs.structured():
        for line in lines:
            _log.log(logging.INFO if code is None else logging.ERROR, "%s", line, extra=logs.about(code=code))
    else:
        typer.echo("\n".join(map(for_terminal, lines)), err=True)


def print_private(*lines: str) -> None:
    """Lines that hold counts or values of somebody's rows: for the person at the screen, and never for a log."""
    if logs.structured():
        print_status("what was seen of the rows is shown on a screen, and never written to a log")
    else:
        print_status(*lines)


def console(stderr: bool = False) -> Console:
    """A rich console for tables and paragraphs that takes no name in them for markup, and lets no letter through that a terminal obeys."""
    from rich.console import Console
    from rich.text import Text

    class Plain(Console):
        def render_str(self, text: str, **style: Any) -> Text:
            return super().render_str("\n".join(map(for_terminal, text.split("\n"))), **style)

    return Plain(stderr=stderr, markup=False, emoji=False)


def epsilon_words(epsilon: float | None, digits: int = 4) -> str:
    """As tables show it; None is what nothing bounds."""
    return "no bound" if epsilon is None else f"{epsilon:.{digits}f}"


def print_checks(checks: Iterable[Check], as_json: bool) -> None:
    """A line for each as it is made, or all as one object; exit code 1 if one failed. A warning is no failure."""
    found: list[Check] = []
    for line in checks:
        found.append(line)
        if not as_json:
            print_result(f"{line.word} {line.name}: {line.found}. {line.fix}".rstrip())
    ready = all(c.passed for c in found)
    if as_json:
        print_json({"ready": ready, "checks": [c.as_dict() for c in found]})
    if not ready:
        raise typer.Exit(1)


class Lines:
    """A line at the start and at each quarter, of the outermost piece of work: for logs.

    Nested work gets a line every ``EVERY`` seconds, so that long work is not silent and short work not reported twice.
    """

    EVERY = 20.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._open: list[tuple[int, str]] = []
        self._at, self._within = 0, 0
        self._clock, self._shown = clock, clock()
        self._noted, self._due = "", math.inf

    def start(self, total: int, what: str) -> None:
        self._open.append((max(total, 1), what))
        self._within = 0
        if len(self._open) == 1:
            self._at = 0
            self._say(f"{what}: 0 of {total}")

    def advance(self, by: int = 1) -> None:
        total, what = self._open[-1]
        if len(self._open) == 1:
            before, self._at = self._at, self._at + by
            if before * 4 // total < self._at * 4 // total:
                self._say(f"{what}: {self._at} of {total}")
            return
        self._within += by
        if self._clock() - self._shown >= self.EVERY:
            of, whole = self._open[0]
            self._say(f"{whole}: {self._at} of {of}, {what}: {self._within} of {total}")

    def _say(self, line: str) -> None:
        self._shown = self._clock()
        print_status(line)

    def done(self) -> None:
        self._open.pop()

    def note(self, text: str, since: float, share: str = "") -> None:
        """A line for an activity that has lasted a while; once per activity."""
        if text != self._noted:
            self._noted, self._due = text, self._clock() + WORTH_A_LINE
        if text and self._clock() >= self._due:
            self._due = math.inf
            print_status(f"{text}, since {datetime.fromtimestamp(since, UTC):%H:%M:%S}Z")


class Bar:
    """Bars on a terminal, one below the other where work starts within work."""

    def __init__(self) -> None:
        from rich.progress import MofNCompleteColumn
        from rich.progress import Progress as RichProgress

        shown = (*RichProgress.get_default_columns(), MofNCompleteColumn())
        self._bars = RichProgress(*shown, console=console(stderr=True), transient=True)
        self._open: list[TaskID] = []
        self._note: TaskID | None = None

    def start(self, total: int, what: str) -> None:
        from rich.markup import escape  # a bar's words are markup, whatever the console's setting

        self._open.append(self._bars.add_task(escape(for_terminal(what)), total=total))
        self._bars.start()
        if self not in _bars:
            _bars.append(self)

    def advance(self, by: int = 1) -> None:
        self._bars.advance(self._open[-1], by)

    def done(self) -> None:
        self._bars.remove_task(self._open.pop())
        if not self._open:
            self.note("", 0.0)
            self._bars.stop()
            with suppress(ValueError):  # an error has closed it
                _bars.remove(self)

    def note(self, text: str, since: float, share: str = "") -> None:
        """A line below the bars: the current activity, and for how long."""
        from rich.markup import escape

        if not text:
            if self._note is not None:
                self._bars.remove_task(self._note)
                self._note = None
            return
        line = escape(for_terminal(f"{text}, {share or f'{max(0, time.time() - since):.0f} s'}"))
        if self._note is None:
            self._note = self._bars.add_task(line, total=None)
        else:
            self._bars.update(self._note, description=line)

    def close(self) -> None:
        """Restore the terminal, whose cursor a bar hides."""
        self._bars.stop()


_bars: list[Bar] = []


def _close_bars() -> None:
    while _bars:
        _bars.pop().close()


class Unseen(Silent):
    """Notes nothing either."""

    def note(self, text: str, since: float, share: str = "") -> None:
        pass


def progress(as_json: bool = False) -> Bar | Lines | Unseen:
    """A bar where stderr is a terminal, lines elsewhere, nothing beside JSON."""
    if as_json:
        return Unseen()
    return Bar() if sys.stderr.isatty() else Lines()


def progress_if_long(as_json: bool = False) -> Progress:
    """The same from the third second on, for commands that are mostly done by then."""
    return Silent() if as_json else Late(progress)
