"""What commands print: results on stdout, all else on stderr; of an error one line, and its exit code."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cohortium import logs
from cohortium.errors import CohortiumError, InputError
from cohortium.progress import Late, Progress, Silent
from cohortium.signals import OVER, number_of
from cohortium.texts import for_terminal, is_unseen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from cohortium.checks import Check
    from cohortium.study import Study

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output and nothing else there.")]
LogStyle = Annotated[
    logs.Style | None,
    typer.Option("--log", help="How it writes its log; by default what COHORTIUM_LOG says, or text (docs/logs.md)."),
]
_log = logging.getLogger("cohortium.commands")


@contextmanager
def guarded(as_json: bool = False) -> Iterator[None]:
    """Turns a CohortiumError, or a signal that ends the command, into an exit code and one line on stderr, or one JSON object
    on stdout.
    """
    try:
        yield
    except CohortiumError as error:
        _tell(error, error.exit_code, as_json)
    except OSError as error:
        _tell(of_system := _of_the_system(error), of_system.exit_code, as_json)
    except KeyboardInterrupt as error:
        told, error.told = interrupted(error), True  # type: ignore[attr-defined]
        with suppress(OSError):  # the terminal may be gone
            _tell(told, OVER + number_of(error), as_json)
        raise typer.Exit(OVER + number_of(error)) from None


def interrupted(error: KeyboardInterrupt) -> CohortiumError:
    """What whoever ended a command by a signal is told."""
    left = getattr(error, "left", None) or (
        "the command was ended before it was done, and nothing of it goes on; files are whole, or not there",
        "Say it again",
    )
    return CohortiumError("E_INTERRUPTED", Signals(number_of(error)).name, left[0], f"{left[1]}.")


def _tell(error: CohortiumError, exit_code: int, as_json: bool) -> NoReturn:
    _close_bars()
    if as_json:
        print_json({"error": error.as_dict()})
    else:
        say(" ".join(str(error).split()), code=error.code)
    raise typer.Exit(exit_code) from None


def _of_the_system(error: OSError) -> CohortiumError:
    """A full disk, a folder without rights: the system's own words, which hold no data."""
    where = Path(error.filename).name if isinstance(error.filename, str) else "file"
    what = error.strerror or "the system refused it"
    return InputError("E_IO", where, what, "Check the path, its rights and the free space; nothing partial was left.")


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


def tell(*lines: str) -> None:
    """Lines of a result, on standard output. Each is one line, whatever names are in it."""
    typer.echo("\n".join(map(for_terminal, lines)))


def say(*lines: str, code: str | None = None) -> None:
    """Lines for the person at the screen, which never mix with results; lines of the log where logs are JSON."""
    if logs.structured():
        for line in lines:
            _log.log(logging.INFO if code is None else logging.ERROR, "%s", line, extra=logs.about(code=code))
    else:
        typer.echo("\n".join(map(for_terminal, lines)), err=True)


def say_here(*lines: str) -> None:
    """Lines that hold counts or values of somebody's rows: for the person at the screen, and never for a log."""
    if logs.structured():
        say("what was seen of the rows is shown on a screen, and never written to a log")
    else:
        say(*lines)


def console(stderr: bool = False) -> Console:
    """A rich console for tables and paragraphs that takes no name in them for markup, and lets no letter through that a terminal obeys."""
    from rich.console import Console
    from rich.text import Text

    class Plain(Console):
        def render_str(self, text: str, **style: Any) -> Text:
            return super().render_str("\n".join(map(for_terminal, text.split("\n"))), **style)

    return Plain(stderr=stderr, markup=False, emoji=False)


def say_device(studies: Iterable[Study]) -> None:
    """On which device this machine trains, where any of ``studies`` trains."""
    from cohortium.study import Trained

    if any(isinstance(study.generator, Trained) for study in studies):
        from cohortium.neural.device import device_words

        say(f"training runs on {device_words()}")


def epsilon_words(epsilon: float | None, digits: int = 4) -> str:
    """As tables show it; None is what nothing bounds."""
    return "no bound" if epsilon is None else f"{epsilon:.{digits}f}"


def tell_checks(checks: Iterable[Check], as_json: bool) -> None:
    """A line for each as it is made, or all as one object; exit code 1 if one failed."""
    found: list[Check] = []
    for line in checks:
        found.append(line)
        if not as_json:
            tell(f"{'ok  ' if line.passed else 'FAIL'} {line.name}: {line.found}. {line.fix}".rstrip())
    ready = all(c.passed for c in found)
    if as_json:
        print_json({"ready": ready, "checks": [vars(c) for c in found]})
    if not ready:
        raise typer.Exit(1)


class Lines:
    """A line at the start and at each quarter, of the outermost piece of work: for logs."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []
        self._at = 0

    def start(self, total: int, what: str) -> None:
        self._open.append((max(total, 1), what))
        if len(self._open) == 1:
            self._at = 0
            say(f"{what}: 0 of {total}")

    def advance(self, by: int = 1) -> None:
        total, what = self._open[-1]
        if len(self._open) == 1:
            before, self._at = self._at, self._at + by
            if before * 4 // total < self._at * 4 // total:
                say(f"{what}: {self._at} of {total}")

    def done(self) -> None:
        self._open.pop()


class Bar:
    """Bars on a terminal, one below the other where work starts within work."""

    def __init__(self) -> None:
        from rich.progress import Progress as RichProgress

        self._bars = RichProgress(console=console(stderr=True), transient=True)
        self._open: list[TaskID] = []
        _bars.append(self)

    def start(self, total: int, what: str) -> None:
        from rich.markup import escape  # a bar's words are markup, whatever the console says

        self._open.append(self._bars.add_task(escape(for_terminal(what)), total=total))
        self._bars.start()

    def advance(self, by: int = 1) -> None:
        self._bars.advance(self._open[-1], by)

    def done(self) -> None:
        self._bars.remove_task(self._open.pop())
        if not self._open:
            self._bars.stop()

    def close(self) -> None:
        """Give the terminal back, whatever was under way: a bar hides its cursor."""
        self._bars.stop()


_bars: list[Bar] = []


def _close_bars() -> None:
    while _bars:
        _bars.pop().close()


def progress(as_json: bool = False) -> Progress:
    """A bar where stderr is a terminal, lines elsewhere, nothing beside JSON."""
    if as_json:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()


def progress_if_long(as_json: bool = False) -> Progress:
    """The same from the third second on, for commands that are mostly done by then."""
    return Silent() if as_json else Late(progress)
