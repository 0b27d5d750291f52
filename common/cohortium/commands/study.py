"""``cohortium study``: what a study would ask of each institution, and who has signed it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.system.output import Json, console, guarded, print_json, print_result, print_status, progress_if_long
from cohortium.system.progress import listening

if TYPE_CHECKING:
    from rich.table import Table

    from cohortium.study.study import Study

MAX_ROWS = 50_000_000  # of a release: study.MAX_ROWS, which takes long to import

study = typer.Typer(no_args_is_help=True, help="The agreed plan.")


@study.command()
def show(
    path: Annotated[Path, typer.Argument(metavar="STUDY", help="A study.toml; its schema lies beside it.")],
    expect_rows: Annotated[
        int | None,
        typer.Option(
            "--expect-rows",
            min=1,
            max=MAX_ROWS,
            help="How many rows you expect all institutions to have together; by default the study's population.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show, before anything runs, what the study would ask of each institution and what that costs and buys."""
    with guarded(as_json):
        from cohortium.federation.forecast import forecast
        from cohortium.study.study import load_study

        with listening(progress_if_long(as_json)):
            agreed = load_study(path)
            shown = forecast(agreed, expect_rows)
        if as_json:
            print_json(shown)
        else:
            print_forecast(shown)
        _warn_expired(agreed)


@study.command()
def verify(
    path: Annotated[Path, typer.Argument(metavar="STUDY", help="A study.toml; its signatures lie beside it.")],
    as_json: Json = False,
) -> None:
    """Check who has signed STUDY as it is here; an error unless all have."""
    with guarded(as_json):
        from cohortium.study.consent import has_signed, read_signatures, require_all
        from cohortium.study.study import load_study

        agreed = load_study(path)
        signatures = read_signatures(path, agreed)
        signed = {i.name: has_signed(agreed, i.name, signatures) for i in agreed.institutions}
        if not as_json:
            _print_signed({i.name: i.key for i in agreed.institutions}, signed)
        require_all(agreed, signatures)
        if as_json:
            print_json({"study": agreed.digest, "serial": agreed.serial, "signed": signed})
        else:
            print_result(f"All have signed study {agreed.name!r}, serial {agreed.serial}, digest {agreed.digest}.")
        _warn_expired(agreed)


def _warn_expired(agreed: Study) -> None:
    """Warn that a study has expired: what it would ask and who has signed it may be shown, but nobody answers it."""
    from cohortium.errors import StudyError
    from cohortium.study.expiry import require_unexpired

    try:
        require_unexpired(agreed)
    except StudyError as error:
        print_status(f"NOBODY ANSWERS IT: {error}")


def _print_signed(keys: dict[str, str], signed: dict[str, bool]) -> None:
    from rich.table import Table

    table = Table(title="Compare each key with its institution by another way")
    for heading in ("institution", "signed", "key"):
        table.add_column(heading, overflow="fold")
    for name, key in keys.items():
        table.add_row(name, "yes" if signed[name] else "NO", key or "none is named")
    console().print(table)


def _travelling(shown: dict[str, Any]) -> list[str]:
    """How answers reach the coordinator, in words."""
    legs = shown["exchanges"]
    exchanges = f"{legs['in_all']} exchanges with everybody in all"
    if not legs["before"]:
        return [shown["travels"], f"{exchanges}."]
    return [
        shown["travels"],
        f"{exchanges}: {legs['before']} for keys, then {legs['a_round']} a round. "
        f"The board of signed keys that each is shown has {legs['board_bytes']:,} bytes.",
    ]


def _calibrated(shown: dict[str, Any]) -> list[str]:
    """The noise of training and what it is calibrated to, in words; empty where nothing is trained."""
    training = shown["training"]
    if training is None:
        return []
    several = "one step a round" if training["steps_a_round"] == 1 else f"{training['steps_a_round']} steps a round"
    shares = training["noise_shares"]
    share = f"; each institution adds {training['noise_multiplier_of_one']:.4f}, a share of one in {shares}"
    return [
        f"Training: {training['steps']:,} noised steps in all ({several}, {training['rounds']:,} rounds) of {training['parameters']:,} parameters, "
        f"each on a random {100 * training['sampling_rate']:g} % of the persons. A given person is expected to be in "
        f"{training['steps_of_a_person']:,.4g} of an institution's steps, with a gradient cut to length {training['clip']:.4g}.",
        f"Noise of a whole step: {training['noise_multiplier']:.4f} times the most that one person can move its sum"
        + (share if shares > 1 else "; each institution adds all of it to its own")
        + ".",
        f"With that noise, these steps and this sampling rate the training alone costs epsilon {training['epsilon']:.4f} by {training['method']}, "
        f"and {training['check']:.4f} by {training['check_method']}, at delta {training['delta']:g}.",
    ]


def print_forecast(shown: dict[str, Any]) -> None:
    """What a study would send, cost and buy, for people."""
    from cohortium.study.carrying import expected_words

    screen = console()
    _print_promise(screen.print, shown)
    screen.print(_guarantees(shown["guarantees"]))
    for g in shown["guarantees"]:
        screen.print(f"• {g['towards']} sees {g['sees']}.")
    screen.print(f"• {shown['guarantees'][1]['words']} (The coordinator's row; the others are read alike.)\n")
    screen.print(_phases(shown["phases"]))
    for line in (*_calibrated(shown), *_travelling(shown), *shown["buys"]):
        screen.print(f"• {line}")
    for number, line in enumerate(expected_words(shown["carries"])):
        screen.print(line if number else f"\n{line}", style=None if number else "bold")


def _print_promise(write: Callable[..., None], shown: dict[str, Any]) -> None:
    from cohortium.study.wording import kind_words

    for mark in shown["review"]:
        write(f"NOBODY CAN SIGN IT: the schema was read off rows, and nobody has reviewed {mark}.")
    write(shown["name"], style="bold", end="  ")
    write(
        f"{shown['digest'][:16]}…  {shown['generator']}, {len(shown['institutions'])} institutions, trust {shown['trust']}"
    )
    if shown["simulated"]:
        write(kind_words("simulation"))
    write(f"Promise: epsilon {shown['epsilon']:g}, delta {shown['delta']:g} per person ({shown['unit']}).")
    cost = shown["cost"]
    write(
        f"Plan:    epsilon {cost['epsilon']:.4f} by {cost['method']}; {cost['check']:.4f} by {cost['check_method']}.\n"
    )


def _guarantees(guarantees: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    from cohortium.study.guarantee import in_hundred

    table = Table(title="What is promised, and towards whom")
    for heading in ("adversary", "epsilon", "at delta", "by another method", "of 100 who took part, found at most"):
        table.add_column(heading, justify="left" if heading == "adversary" else "right")
    for g in guarantees:
        numbers = (f"{g['epsilon']:.4f}", f"{g['delta']:g}", f"{g['check']:.4f}", in_hundred(g["attack_rate"]))
        table.add_row(g["towards"], *numbers)
    return table


def _phases(phases: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title="What each institution would send")
    for heading in (
        "phase",
        "rounds",
        "numbers a round",
        "bytes a round",
        "noise multiplier",
        "noise sd",
        "epsilon alone",
    ):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for p in phases:
        sent = (str(p["rounds"]), f"{p['numbers']:,}", f"{p['bytes']:,}")
        table.add_row(p["name"], *sent, f"{p['noise_multiplier']:.3f}", p["noise_words"], f"{p['epsilon']:.3f}")
    return table
