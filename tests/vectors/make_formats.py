"""Writes ``formats/``: what this version leaves on disks, for every later version to open.

    python tests/vectors/make_formats.py

In ``1`` a study of two institutions was run and released; the run of a second one stopped after its first round. Releases of
format 2 (``2``) say of which kind they are: a federation's, and a simulation's. Change the files only by adding those of
another format beside them, in a folder of its own: what lies there was written by versions that people have. This writes the newest alone.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
OUT = HERE / "formats" / "2"
sys.path.insert(0, str(HERE.parent / "support"))

from enlisted import agree, custodian  # noqa: E402
from local_federation import NAMES, SWEEP, Federation, begin, go, table  # noqa: E402

from cohortium.data.encoding import decode  # noqa: E402
from cohortium.ledger.store import Ledger  # noqa: E402
from cohortium.study.study import Institution  # noqa: E402
from cohortium_server.release import write_release  # noqa: E402
from cohortium_simulation.experiment import simulate  # noqa: E402


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        os.environ["COHORTIUM_HOME"] = str(folder / "home")
        ledgers = {n: stack.enter_context(Ledger(folder / f"{n}.sqlite")) for n in NAMES}
        for ledger in ledgers.values():
            agree(ledger, SWEEP)
        custodians = {n: custodian(ledgers[n], table, SWEEP, name=n) for n in NAMES}
        outcome = go(begin(folder, SWEEP), Federation(custodians, ledgers))
        write_release(outcome, folder / "release", seed=1)
        made_up = replace(SWEEP, institutions=tuple(Institution(name=n) for n in NAMES))
        simulate(made_up, {n: rows() for n in NAMES}, folder / "simulation", seed=1)
        shutil.rmtree(OUT, ignore_errors=True)
        for made in ("release", "simulation"):
            shutil.copytree(folder / made, OUT / made)


def rows() -> pd.DataFrame:
    """What ``table`` holds codes of."""
    return decode(table(SWEEP).values, SWEEP.schema, np.random.default_rng(0))


if __name__ == "__main__":
    main()
