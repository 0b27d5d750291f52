"""The one command, ``cohortium``. Its sub-commands are found through entry points, so that common code imports neither side."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from cohortium.system.signals import OVER, end_now, interrupting, number_of

if TYPE_CHECKING:
    import typer

_HELP = "Institutions train one differentially private generator together and release one synthetic data set."


def build() -> typer.Typer:
    """The command with every installed sub-command: an entry is a noun (a Typer app) or a verb (a function).

    The name ``study.sign`` adds the verb ``sign`` to the noun ``study``, whoever brings it.
    """
    from importlib.metadata import entry_points

    import typer

    app = typer.Typer(
        name="cohortium", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=_HELP
    )

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", callback=_print_version, is_eager=True, help="Show the version."
        ),
    ) -> None:
        pass

    nouns = {"": app}
    for entry in sorted(entry_points(group="cohortium.commands"), key=lambda e: e.name):
        command = entry.load()
        noun, _, name = entry.name.rpartition(".")
        if isinstance(command, typer.Typer):
            nouns[name] = command
            app.add_typer(command, name=name)
        else:
            nouns[noun].command(name=name)(command)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        import typer

        from cohortium.system.versions import version_of

        typer.echo(f"cohortium {version_of('cohortium')}")
        raise typer.Exit


def main() -> None:
    """Run the command. When a signal ends it, report what is left behind and do not wait for threads still at work."""
    with interrupting() as wishes:  # before the rest is loaded, which takes a moment
        try:
            code = _run()
        except KeyboardInterrupt as error:
            code = _report_interrupt(error)
        if wishes.first:
            _leave(code)
    sys.exit(code)


def _run() -> int:
    """The command's exit code."""
    from cohortium.system.output import show_all_letters

    show_all_letters()
    try:
        build()()
    except SystemExit as end:
        if (error := _unreported(end)) is not None:
            raise error from None
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _unreported(end: BaseException | None) -> KeyboardInterrupt | None:
    """The signal that ended the command, unless a command has reported it already."""
    while end is not None and not isinstance(end, KeyboardInterrupt):
        end = end.__context__
    return None if getattr(end, "reported", False) else end


def _report_interrupt(error: KeyboardInterrupt) -> int:
    from cohortium.system.output import interrupted, print_status

    with suppress(OSError):  # the terminal may be gone
        print_status(str(interrupted(error)))
    return OVER + number_of(error)


def _leave(code: int) -> None:
    """Exit without finalizing the interpreter: a thread inside native code may crash during finalization."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    end_now(code)
