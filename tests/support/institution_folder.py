"""An institution's folder, made as ``cohortium institution init`` makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from cohortium_client.custodian.institution import Institution, init_institution

POLICY = {"epsilon_per_population": 10.0, "delta": 1e-6}
CANARY = "SECRET-CANARY"


def made(folder: Path, **policy: Any) -> Institution:
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"a": [True, False], "b": [False, None], "note": CANARY}).to_csv(folder / "table.csv", index=False)
    return init_institution(folder, "north", {"path": "table.csv"}, "patients", POLICY | policy)
