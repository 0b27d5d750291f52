"""``cohortium coordinator run``, ``resume``, ``status``, ``stop``, ``release`` and ``serve``."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.system import logs
from cohortium.system.output import Json, LogStyle, guarded, print_json, print_result, print_status, progress
from cohortium.system.platforms import require_serving
from cohortium.system.progress import listening
from cohortium.system.signals import leaving, require_meant
from cohortium_server.commands.membership import Fed

if TYPE_CHECKING:
    from cohortium.errors import CohortiumError, FederationError
    from cohortium_server.desired_state import End
    from cohortium_server.rounds.doing import Doing
    from cohortium_server.rounds.folder_journal import FolderJournal
    from cohortium_server.rounds.rounds import Outcome

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
Connect = Annotated[
    list[Path] | None, typer.Option("--connect", metavar="SOCKET", help="A custodian's socket; once an institution.")
]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the release that is in --out.")]
LOOK_EVERY = 0.3  # seconds
_HUNG_UP = (
    "its terminal has closed, so the federation is served no longer; what was answered in its runs is kept",
    "Serve it again, such that it outlives the terminal (nohup, or systemd: docs/deploy.md): runs that are ordered go on",
)
SOON = 15.0  # seconds after which a message says that no coordinator seems to serve
GONE_WITHIN = 60.0  # seconds that a run may take to stop


def serve(federation: Fed, log: LogStyle = None) -> None:
    """Serve a federation until stopped: accept the institutions' connections, and run the studies that are ordered."""
    with guarded():
        require_serving("coordinator serve")
        from cohortium_server.flower.serving import serve_federation, take
        from cohortium_server.membership.federation import load_federation

        logs.choose(log)
        logs.set_up("coordinator", quoting=True)
        opened = load_federation(federation)
        take(opened)
        print_status(f"federation {opened.name!r}: institutions connect to {opened.address}, here {opened.listen}")
        require_meant(serve_federation(opened), *_HUNG_UP)
        print_status("stopped")


def run(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study.toml with everybody's signatures beside it.")],
    at: Annotated[
        Path | None, typer.Option("--at", metavar="FED", help="The coordinator's folder: run it over the federation.")
    ] = None,
    connect: Connect = None,
    out: Annotated[Path, typer.Option("--out", help="The folder of the release.")] = Path("release"),
    runs: Annotated[
        Path | None,
        typer.Option("--runs", help="Where the run is remembered; by default runs beside the study. Not with --at."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Repeats fit and sample, never the noise.")] = None,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Run a signed study over a federation, or over the custodians of this machine, and write its release."""
    if at is not None and runs is not None:
        raise typer.BadParameter("a federation remembers its runs in FED/runs", param_hint="--runs")
    with guarded(as_json):
        require_serving("coordinator run")
        from cohortium.study.consent import read_signatures, require_all
        from cohortium.study.expiry import require_unexpired
        from cohortium.study.study import load_study
        from cohortium_server.release import require_no_release
        from cohortium_server.rounds.folder_journal import FolderJournal

        agreed = load_study(study)
        signatures = read_signatures(study, agreed)
        require_all(agreed, signatures)
        require_unexpired(agreed)
        require_no_release(out, replace)
        settings: dict[str, Any] = {"out": str(out.absolute()), "seed": seed, **({"replace": True} if replace else {})}
        if at is None:
            settings["connect"] = [str(s.absolute()) for s in connect or []]
            _finish(FolderJournal.begin(runs or study.parent / "runs", agreed, signatures, seed, settings), as_json)
            return
        from cohortium_server.flower.roster import nodes_of
        from cohortium_server.membership.federation import load_federation

        federation = load_federation(at)
        nodes_of(at, agreed)
        settings["at"] = str(at.absolute())
        journal = FolderJournal.begin(federation.runs, agreed, signatures, seed, settings)
        journal.close()
        _ordered(journal, as_json)


def resume(run: RunFolder, connect: Connect = None, as_json: Json = False) -> None:
    """Continue a run that stopped: recorded rounds are replayed, not requested or charged again."""
    with guarded(as_json):
        require_serving("coordinator resume")
        from cohortium_server.rounds.folder_journal import FolderJournal

        journal = FolderJournal(run, alone=False)
        _require_time_left(journal)
        if "at" in journal.settings:
            _ordered(journal, as_json)
            return
        journal = FolderJournal(run)
        if connect:
            journal.settings["connect"] = [str(s.absolute()) for s in connect]
        _finish(journal, as_json)


def status(run: RunFolder, as_json: Json = False) -> None:
    """How far a run has come."""
    with guarded(as_json):
        from cohortium_server.rounds.folder_journal import FolderJournal

        shown = _status(FolderJournal(run, alone=False))
        if as_json:
            print_json(shown)
            return
        print_result(f"run {shown['run']}: {shown['done']} of {shown['rounds']} rounds, {shown['state']}")
        for fall in shown["falls"]:
            print_status(f"its process ended at {fall['at'][:19]}Z: {fall['code']} {fall['what']}")
        if (now := _doing(run)) is not None:
            print_result(f"{now.words}, since {datetime.fromtimestamp(now.since, UTC):%H:%M:%S}Z")
        if shown["error"]:
            print_status("{code}: {where}: {what}. {fix}".format_map(shown["error"]))


def stop(run: RunFolder, as_json: Json = False) -> None:
    """Stop a run of a federation. What was answered is kept: it can be resumed."""
    with guarded(as_json):
        from cohortium_server import desired_state
        from cohortium_server.rounds.folder_journal import FolderJournal

        journal = FolderJournal(run, alone=False)
        if "at" not in journal.settings:
            raise _of_no_federation(journal)
        desired_state.give(run, "stop")
        until = time.monotonic() + GONE_WITHIN
        while (held := desired_state.is_held(run)) and time.monotonic() < until:
            time.sleep(LOOK_EVERY)
        if as_json:
            print_json({"run": journal.run, "stopped": not held})
        else:
            print_status(
                f"run {journal.run} {'is being stopped' if held else 'has stopped'}; go on with: cohortium coordinator resume {run}"
            )


def release(
    run: RunFolder,
    out: Annotated[Path, typer.Option("--out", help="The folder of the release.")] = Path("release"),
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Make the release of a complete run again. No institution is asked, and it costs no privacy."""
    with guarded(as_json):
        from cohortium_server.membership.presence import use_home
        from cohortium_server.release import require_no_release
        from cohortium_server.rounds.folder_journal import FolderJournal
        from cohortium_server.rounds.rounds import run_study
        from cohortium_server.rounds.transport import Nobody

        with closing(FolderJournal(run)) as journal:
            require_no_release(out, replace, journal.run)
            if "at" in journal.settings:
                use_home(Path(journal.settings["at"]) / "state")
            shown = progress(as_json)
            with listening(shown):
                outcome = run_study(journal.study, journal.consents, Nobody(), journal, shown)
                _released(outcome, out, journal, replace, as_json)


def _require_time_left(journal: FolderJournal) -> None:
    """StudyError E_EXPIRED if the study has expired while rounds remain to be asked."""
    from cohortium.study.expiry import require_unexpired
    from cohortium.study.plan import plan

    if journal.rounds_done < plan(journal.study).rounds:
        require_unexpired(journal.study)


def _of_no_federation(journal: FolderJournal) -> FederationError:
    from cohortium.errors import FederationError

    what = "it is a run over the custodians of this machine, which the command that runs it stops"
    return FederationError("E_RUN", journal.folder.name, what, "Stop that command: Ctrl-C.")


def _finish(journal: FolderJournal, as_json: bool) -> None:
    """Ask the remaining rounds of a run over the custodians of this machine, and release."""
    from cohortium.errors import CohortiumError
    from cohortium_server.engines import engine
    from cohortium_server.release import require_no_release

    settings: dict[str, Any] = journal.settings
    if not as_json:
        print_status(f"run {journal.run} in {journal.folder}")
    out, replace = Path(settings["out"]), bool(settings.get("replace"))
    again = f"Go on with: cohortium coordinator resume {journal.folder}"
    shown = progress(as_json)
    with (
        closing(journal),
        leaving(lambda: ("the run stands still; what was answered is kept, and not charged again", again)),
        listening(shown),
    ):
        try:
            require_no_release(out, replace, journal.run)
            sockets = [Path(s) for s in settings["connect"]]
            outcome = engine("in-process")(journal.study, journal.consents, sockets, journal, shown)
        except CohortiumError as error:
            _print_resume(journal, error, as_json)
            raise
        _released(outcome, out, journal, replace, as_json)


def _released(outcome: Outcome, out: Path, journal: FolderJournal, replace: bool, as_json: bool) -> None:
    from cohortium_server.release import write_release

    _print_result(write_release(outcome, out, journal.settings["seed"], learn=True, replace=replace), journal, as_json)


def _print_result(folder: Path, journal: FolderJournal, as_json: bool) -> None:
    from cohortium_server.release import load_release

    release = load_release(folder)
    if as_json:
        print_json({"run": journal.run, "release": str(release.path), "guarantee": release.manifest["guarantee"]})
        return
    cost = release.manifest["guarantee"]
    print_result(f"{release.manifest['rows']} synthetic rows in {release.path}.")
    print_result(f"Cost: epsilon {cost['epsilon']:.4f} at delta {cost['delta']:g} per person.")


def _print_resume(journal: FolderJournal, error: CohortiumError, as_json: bool) -> None:
    from cohortium_server.rounds.asking import NEVER_AGAIN

    if not as_json and error.code not in NEVER_AGAIN:
        print_status(f"go on with: cohortium coordinator resume {journal.folder}")


# Over a federation: order the run, and watch it


def _ordered(journal: FolderJournal, as_json: bool) -> None:
    """Let the federation continue a run, and wait for its end. To stop waiting does not stop the run."""
    from cohortium_server import desired_state

    if not as_json:
        print_status(f"run {journal.run} in {journal.folder}")
    looked = f"Look with: cohortium coordinator status {journal.folder}; wait on with resume, end it with stop"
    with leaving(lambda: ("the run goes on, where the federation is served", looked)):
        number = desired_state.give(journal.folder, "go").number
        end = _awaited(journal, number, as_json)
    if (error := end.raised()) is not None:
        _print_resume(journal, error, as_json)
        raise error
    _print_result(Path(journal.settings["out"]), journal, as_json)


def _awaited(journal: FolderJournal, number: int, as_json: bool) -> End:
    """Wait for the end of a run, showing its rounds meanwhile."""
    from cohortium.study.plan import plan
    from cohortium_server import desired_state

    shown, since, done, fallen = progress(as_json), time.monotonic(), 0, 0
    shown.start(plan(journal.study).rounds, "rounds")
    while (end := desired_state.ended(journal.folder)) is None:
        last = desired_state.desired(journal.folder)
        if last is None or (last.wanted, last.number) != ("go", number):
            end = desired_state.stopped(journal.folder.name, number)
            break
        fallen = _print_falls(journal.folder, fallen, as_json)
        before, done = done, journal.rounds_done
        shown.advance(done - before)
        now = _doing(journal.folder)
        shown.note(*("", 0.0) if now is None else (now.words, now.since, now.share))
        if since and time.monotonic() > since + SOON:
            since = 0.0
            if not desired_state.is_held(journal.folder) and not as_json:
                print_status(
                    f"no coordinator has started it yet: is cohortium coordinator serve {journal.settings['at']} running?"
                )
        time.sleep(LOOK_EVERY)
    shown.done()
    return end


def _print_falls(run: Path, known: int, as_json: bool) -> int:
    """Report that the run's process has ended and is started again; returns how often since a round was complete."""
    from cohortium_server import desired_state

    found = desired_state.falls(run)
    if not as_json:
        for fall in found[known:]:
            print_status(f"{fall}; it is started again. What was answered is kept")
    return len(found)


def _doing(run: Path) -> Doing | None:
    """The current work of a run; None where no process runs it."""
    from cohortium_server import desired_state
    from cohortium_server.rounds.doing import doing

    return doing(run) if desired_state.is_held(run) else None


def _status(journal: FolderJournal) -> dict[str, Any]:
    from cohortium.study.plan import plan
    from cohortium_server import desired_state

    end = desired_state.ended(journal.folder)
    error = end.error if end else None
    fallen = [] if end else desired_state.falls(journal.folder)
    states = {
        "released": journal.is_released,
        "failed": error is not None,
        "running": desired_state.is_held(journal.folder),
        "being started again": bool(fallen)
        and (last := desired_state.desired(journal.folder)) is not None
        and last.wanted == "go",
    }
    return {
        "run": journal.run,
        "study": journal.study.digest,
        "done": journal.rounds_done,
        "rounds": plan(journal.study).rounds,
        "released": states["released"],
        "state": next((state for state, so in states.items() if so), "not running"),
        "error": error,
        "falls": [{"at": f.at, **f.error} for f in fallen],
        "doing": None if (now := _doing(journal.folder)) is None else asdict(now),
    }
