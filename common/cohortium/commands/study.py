"""``cohortium study``: what would be asked of each institution, and who has agreed to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.system.output import Json, console, guarded, print_json, progress_if_long, say, tell
from cohortium.system.progress import listening

if TYPE_CHECKING:
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
            help="How many rows all institutions together are expected to have; by default the study's population.",
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
        _say_expired(agreed)


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
            tell(f"All have signed study {agreed.name!r}, serial {agreed.serial}, digest {agreed.digest}.")
        _say_expired(agreed)


def _say_expired(agreed: Study) -> None:
    """What a study would ask, and who has signed it, is true of one that has expired; that nobody answers it, too."""
    from cohortium.errors import StudyError
    from cohortium.study.expiry import require_unexpired

    try:
        require_unexpired(agreed)
    except StudyError as error:
        say(f"NOBODY ANSWERS IT: {error}")


def _print_signed(keys: dict[str, str], signed: dict[str, bool]) -> None:
    from rich.table import Table

    table = Table(title="Compare each key with its institution by another way")
    for heading in ("institution", "signed", "key"):
        table.add_column(heading, overflow="fold")
    for name, key in keys.items():
        table.add_row(name, "yes" if signed[name] else "NO", key or "none is named")
    console().print(table)


def _travelling(shown: dict[str, Any]) -> list[str]:
    """How the sums are made, in words."""
    told, exchanges = shown["exchanges"], f"{shown['exchanges']['in_all']} exchanges with everybody in all"
    if not told["before"]:
        return [shown["travels"], f"{exchanges}."]
    return [
        shown["travels"],
        f"{exchanges}: {told['before']} for keys, then {told['a_round']} a round. "
        f"The board of signed keys that each is shown has {told['board_bytes']:,} bytes.",
    ]


def _calibrated(shown: dict[str, Any]) -> list[str]:
    """Which noise a training gets, and for what, in words; nothing where nothing is trained."""
    told = shown["training"]
    if told is None:
        return []
    several = "one step a round" if told["steps_a_round"] == 1 else f"{told['steps_a_round']} steps a round"
    shares = told["noise_shares"]
    share = f"; each institution adds {told['noise_multiplier_of_one']:.4f}, a share of one in {shares}"
    return [
        f"Training: {told['steps']:,} noised steps in all ({several}, {told['rounds']:,} rounds) of {told['parameters']:,} parameters, "
        f"each on a random {100 * told['sampling_rate']:g} % of the persons. A given person is expected to be in "
        f"{told['steps_of_a_person']:,.4g} of an institution's steps, with a gradient cut to length {told['clip']:.4g}.",
        f"Noise of a whole step: {told['noise_multiplier']:.4f} times the most that one person can move its sum"
        + (share if shares > 1 else "; each institution adds all of it to its own")
        + ".",
        f"With that noise, these steps and this sampling rate the training alone costs epsilon {told['epsilon']:.4f} by {told['method']}, "
        f"and {told['check']:.4f} by {told['check_method']}, at delta {told['delta']:g}.",
    ]


def print_forecast(shown: dict[str, Any]) -> None:
    """What a study would send, cost and buy, for people."""
    from rich.table import Table

    from cohortium.study.carrying import expected_words
    from cohortium.study.guarantee import in_hundred
    from cohortium.study.wording import kind_words

    screen = console()
    for mark in shown["review"]:
        screen.print(f"NOBODY CAN SIGN IT: the schema was read off rows, and nobody has reviewed {mark}.")
    screen.print(shown["name"], style="bold", end="  ")
    screen.print(
        f"{shown['digest'][:16]}…  {shown['generator']}, {len(shown['institutions'])} institutions, trust {shown['trust']}"
    )
    if shown["simulated"]:
        screen.print(kind_words("simulation"))
    screen.print(f"Promise: epsilon {shown['epsilon']:g}, delta {shown['delta']:g} per person ({shown['unit']}).")
    screen.print(
        f"Plan:    epsilon {shown['cost']['epsilon']:.4f} by {shown['cost']['method']}; {shown['cost']['check']:.4f} by {shown['cost']['check_method']}.\n"
    )
    promised = Table(title="What is promised, and towards whom")
    for heading in ("adversary", "epsilon", "at delta", "by another method", "of 100 who took part, found at most"):
        promised.add_column(heading, justify="left" if heading == "adversary" else "right")
    for g in shown["guarantees"]:
        numbers = (f"{g['epsilon']:.4f}", f"{g['delta']:g}", f"{g['check']:.4f}", in_hundred(g["attack_rate"]))
        promised.add_row(g["towards"], *numbers)
    screen.print(promised)
    for g in shown["guarantees"]:
        screen.print(f"• {g['towards']} sees {g['sees']}.")
    screen.print(f"• {shown['guarantees'][1]['words']} (The coordinator's row; the others are read alike.)\n")
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
    for p in shown["phases"]:
        table.add_row(
            p["name"],
            str(p["rounds"]),
            f"{p['numbers']:,}",
            f"{p['bytes']:,}",
            f"{p['noise_multiplier']:.3f}",
            p["noise_words"],
            f"{p['epsilon']:.3f}",
        )
    screen.print(table)
    for line in (*_calibrated(shown), *_travelling(shown), *shown["buys"]):
        screen.print(f"• {line}")
    for number, line in enumerate(expected_words(shown["carries"])):
        screen.print(line if number else f"\n{line}", style=None if number else "bold")
