"""Codes in, synthetic codes out, with a mechanism of dpmm. Runs inside the peer's own environment (runner.py).

    python dpmm_codes.py IN.npz OUT.npz mst|aim EPSILON DELTA SEED

IN holds ``codes`` (rows, columns) and ``sizes`` (columns,); OUT gets ``codes`` and the processor's ``seconds`` of fitting
and drawing.
Noise is dpmm's own and follows no seed.
"""

import sys
import time

import numpy as np
import pandas as pd
from dpmm.pipelines import AIMPipeline, MSTPipeline

PIPELINES = {"mst": MSTPipeline, "aim": AIMPipeline}
MODEL_SIZE = {"mst": None, "aim": 4}  # MB: with AIM's own 80 it runs for many hours


def main(source: str, out: str, model: str, epsilon: str, delta: str, seed: str) -> None:
    given = np.load(source)
    names = [f"c{j}" for j in range(len(given["sizes"]))]
    table = pd.DataFrame(given["codes"].astype(np.int64), columns=names)
    domain = dict(zip(names, given["sizes"].tolist(), strict=True))
    options = {"max_model_size": MODEL_SIZE[model], "n_jobs": 1, "disable_processing": True}  # binned in public already
    pipeline = PIPELINES[model](epsilon=float(epsilon), delta=float(delta), **options)
    start = time.process_time()
    pipeline.fit(table, domain=domain, random_state=int(seed))
    synthetic = pipeline.generate(n_records=len(table))
    seconds = time.process_time() - start
    np.savez(out, codes=synthetic[names].to_numpy().astype(np.int16), seconds=seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
