"""Writes ``formats/``: what this version leaves on disks, for every later version to open.

    python tests/vectors/make_formats.py

A study of two institutions was run and released; the run of a second one stopped after its first round. Change the files
only by adding those of another format beside them, in a folder of its own: what lies there was written by versions that
people have.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "formats" / "1"
sys.path.insert(0, str(HERE.parent))

from enlisted import RUN, agree, custodian  # noqa: E402
from test_journal import NAMES, SWEEP, TRAINING, Federation, begin, go, table  # noqa: E402

from cohortium.errors import FederationError  # noqa: E402
from cohortium.privacy.copies import back_up  # noqa: E402
from cohortium.privacy.ledger import Approval, Ledger, Withdrawal  # noqa: E402
from cohortium_client.sessions import Sessions  # noqa: E402
from cohortium_server.release import write_release  # noqa: E402


class OneRound(Federation):
    """South falls silent when it has been asked once."""

    def exchange(self, request: bytes, timeout: float) -> Iterable[bytes]:
        told = list(super().exchange(request, timeout))
        self.silent = {"south"}
        return told


def write_sessions(path: Path) -> None:
    sessions = Sessions(path)
    sessions.secrets(RUN)
    sessions.say(f"{RUN}/0/0/advertise", "asked", b"said")
    sessions.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        os.environ["COHORTIUM_HOME"] = str(folder / "home")
        ledgers = {n: stack.enter_context(Ledger(folder / f"{n}.sqlite")) for n in NAMES}
        for ledger in ledgers.values():
            ledger.record(Approval(SWEEP.digest, RUN))
            agree(ledger, SWEEP, TRAINING)
        custodians = {n: custodian(ledgers[n], table, SWEEP, TRAINING, name=n) for n in NAMES}
        outcome = go(begin(folder, SWEEP), Federation(custodians, ledgers))
        write_release(outcome, folder / "release", seed=1)
        journal = begin(folder, TRAINING)
        try:
            go(journal, OneRound(custodians, ledgers))
        except FederationError:
            for ledger in ledgers.values():
                ledger.record(Withdrawal(SWEEP.digest))
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        for n, ledger in ledgers.items():
            back_up(ledger, OUT / f"{n}.sqlite")
        write_sessions(OUT / "sessions.sqlite")
        shutil.copytree(folder / "release", OUT / "release")
        shutil.copytree(journal.folder, OUT / "run", ignore=shutil.ignore_patterns("lock"))


if __name__ == "__main__":
    main()
