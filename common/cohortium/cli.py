"""The one command, ``cohortium``. Its sub-commands are found through entry points, so that common code imports neither side."""

from __future__ import annotations

from importlib.metadata import entry_points

import typer


def build() -> typer.Typer:
    """The command with every installed sub-command: an entry is a noun (a Typer app) or a verb (a function).

    The name ``study.sign`` adds the verb ``sign`` to the noun ``study``, whoever brings it.
    """
    app = typer.Typer(
        name="cohortium", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=_HELP
    )
    app.callback()(_root)
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


_HELP = "Institutions train one differentially private generator together and release one synthetic data set."


def _version(wanted: bool) -> None:
    if wanted:
        from cohortium.versions import version_of

        typer.echo(f"cohortium {version_of('cohortium')}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    pass


def main() -> None:
    from cohortium.commands.output import show_all_letters

    show_all_letters()
    build()()
