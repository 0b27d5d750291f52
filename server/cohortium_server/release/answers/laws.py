"""The distributions of a model's errors as tensors: estimated once, when a release is written, so that no query waits for them.

They follow from the noised counts alone (errors.py), so a release may publish them as it publishes the counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from cohortium_server.generators import Tensors
from cohortium_server.release.answers.errors import SCALES, Law
from cohortium_server.release.answers.products import FloatArray

Learnt = tuple[Mapping[str, Law], FloatArray]
_PREFIX, _TAILS = "law/", "law-tails"


def tensors(learnt: Learnt) -> Tensors:
    """All numbers of every law; empty where no law was estimated, or one is not finite."""
    laws, tails = learnt
    stored = {
        f"{_PREFIX}{name}/{f.name}": np.atleast_1d(np.asarray(getattr(law, f.name), np.float64))
        for name, law in laws.items()
        for f in fields(law)
    }
    whole = all(np.isfinite(t).all() for t in (*stored.values(), tails))
    return {**stored, _TAILS: np.asarray(tails, np.float64)} if stored and whole else {}


def read(stored: Tensors) -> Learnt | None:
    """The inverse of ``tensors``; None where there are no laws. ValueError or KeyError for tensors of anything else."""
    if _TAILS not in stored:
        return None
    names = sorted({key.removeprefix(_PREFIX).rpartition("/")[0] for key in stored if key.startswith(_PREFIX)})
    tails = stored[_TAILS]
    if tails.shape != SCALES.shape or not (tails >= 0).all() or not tails.sum() > 0:
        raise ValueError("tails")
    return {name: _law(stored, name) for name in names}, tails


def _law(stored: Tensors, name: str) -> Law:
    parts = {f.name: stored[f"{_PREFIX}{name}/{f.name}"] for f in fields(Law)}
    features = parts["slopes"].shape
    shapes = {"centre": features, "scale": features, "overlap": (1,), "growth": (2,), "doubt": (2, 2), "middle": (2,)}
    if len(features) != 1 or any(parts[k].shape != shape for k, shape in shapes.items()):
        raise ValueError("law")
    middle: Any = tuple(parts["middle"].tolist())
    return Law(**{**parts, "overlap": float(parts["overlap"][0]), "middle": middle})
