"""Shapes that columns have, as counts of cells, and how far one is from another."""

from __future__ import annotations

import numpy as np


def shape(kind: str, cells: int = 1024, rows: float = 36_000) -> np.ndarray:
    at = (np.arange(cells) + 0.5) / cells
    mass = {
        "bell": np.exp(-(((at - 0.4) / 0.08) ** 2) / 2),
        "two bells": np.exp(-(((at - 0.2) / 0.02) ** 2)) + np.exp(-(((at - 0.8) / 0.05) ** 2)),
        "falling": np.exp(-20 * at),
        "steps": np.where(at < 0.3, 1.0, np.where(at < 0.31, 40.0, 0.2)),
        "narrow": np.where(np.abs(at - 0.5) < 0.01, 1.0, 0.0),
    }[kind]
    counts: np.ndarray = rows * mass / mass.sum()
    return counts


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Of Kolmogorov and Smirnov."""
    return float(np.abs(np.cumsum(one) / one.sum() - np.cumsum(other) / other.sum()).max())
