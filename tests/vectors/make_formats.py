"""Writes ``formats/``: what this version leaves on disks, for every later version to open.

    python tests/vectors/make_formats.py

In ``1`` a study of two institutions was run and released; the run of a second one stopped after its first round. Releases of
format 2 (``2``) say of which kind they are: a federation's, and a simulation's. In ``3`` the study is of edition 2, with a
column that was counted at several resolutions. Change the files only by adding those of
another format beside them, in a folder of its own: what lies there was written by versions that people have. This writes the newest alone.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
OUT = HERE / "formats" / "3"
sys.path.insert(0, str(HERE.parent / "support"))

from local_federation import NAMES, SWEEP  # noqa: E402

from cohortium.data.columns import Categorical, Continuous  # noqa: E402
from cohortium.data.schema import Schema  # noqa: E402
from cohortium.study.study import Institution  # noqa: E402
from cohortium_simulation.experiment import simulate  # noqa: E402

COLUMNS = Continuous(name="age", lower=0, upper=300), Categorical(name="b", categories=("u", "v"), target=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["COHORTIUM_HOME"] = str(folder / "home")
        institutions = tuple(Institution(name=n) for n in NAMES)
        study = replace(SWEEP, schema=Schema(columns=COLUMNS), institutions=institutions, edition=2)
        simulate(study, {n: rows(seed) for seed, n in enumerate(NAMES)}, folder / "simulation", seed=1)
        shutil.rmtree(OUT, ignore_errors=True)
        shutil.copytree(folder / "simulation", OUT / "simulation")


def rows(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    b = rng.choice(["u", "v"], 400)
    return pd.DataFrame({"age": np.clip(rng.normal(60 + 90 * (b == "v"), 25), 0, 300).round(), "b": b})


if __name__ == "__main__":
    main()
