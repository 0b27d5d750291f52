"""Make the demo's bundled table from medicaldata's covid_testing as CSV: ``python tools/bundle_demo_data.py covid_testing.csv``.

What is done to it is described in simulation/cohortium_simulation/data/NOTICE; every step is below.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

OUT = Path(__file__).parent.parent / "simulation" / "cohortium_simulation" / "data" / "covid_testing.parquet"
DROPPED = ["test_id", "clinic_name"]
INSTITUTIONS_PER_PERSON = 2


def institution(clinic: str) -> str:
    """Six institutions of very different sizes out of 88 clinics."""
    if clinic == "clinical lab":
        return "clinical-lab"
    if clinic == "emergency dept":
        return "emergency"
    if any(word in clinic for word in ("onc", "hem ", "transfusion", "apheresis")):
        return "oncology"
    if clinic in ("nicu", "picu"):
        return "intensive-care"
    return "inpatient-wards" if clinic.startswith("inpatient ward") or clinic == "heart station" else "network"


def bundle(table: pd.DataFrame) -> pd.DataFrame:
    """The table with institutions, each person in at most two of them: those of the person's first tests."""
    table = table.assign(institution=table["clinic_name"].map(institution)).sort_values("pan_day", kind="stable")
    first_seen = table.groupby("subject_id")["institution"].transform(lambda seen: pd.factorize(seen)[0])
    kept = table[first_seen < INSTITUTIONS_PER_PERSON].drop(columns=DROPPED).reset_index(drop=True)
    return kept[["institution", *(c for c in kept.columns if c != "institution")]]


if __name__ == "__main__":
    bundle(pd.read_csv(sys.argv[1])).to_parquet(OUT, index=False, compression="zstd")
