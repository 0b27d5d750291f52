"""One comparison: what it is of, how near the synthetic rows are, and the two ends of its scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cohortium.evaluation.estimates import Estimate, jackknifed
from cohortium.evaluation.samples import Sample, Sides

FloatArray = npt.NDArray[np.float64]
Better = Literal["less", "more"]
Statistic = Callable[[Sample, Sample], FloatArray]


@dataclass(frozen=True)
class Measure:
    """topic: the section it belongs to. of: a column, a pair, a model; "" of the whole table. floor: what rows of independent
    columns reach. ceiling: what other real rows reach. None where there is no such thing.
    """

    topic: str
    name: str
    of: str
    better: Better
    synthetic: Estimate
    floor: float | None = None
    ceiling: float | None = None

    @property
    def way(self) -> float | None:
        """How far it is from the floor to the ceiling: 0 to 1, and beyond; None where they do not lie apart as they should."""
        if self.floor is None or self.ceiling is None:
            return None
        length = self.floor - self.ceiling if self.better == "less" else self.ceiling - self.floor
        gone = self.floor - self.synthetic.value if self.better == "less" else self.synthetic.value - self.floor
        return gone / length if length > 1e-9 else None

    @property
    def sentence(self) -> str:
        """What the number says, in plain words."""
        ends = [
            f"{words} {_short(value)}"
            for words, value in (("independent columns", self.floor), ("other real rows", self.ceiling))
            if value is not None
        ]
        found = f"{_short(self.synthetic.value)} ({_short(self.synthetic.low)} to {_short(self.synthetic.high)})"
        beside = f"; {', '.join(ends)}" if ends else ""
        return f"{self.name}{f' of {self.of}' if self.of else ''}: {found}{beside}{self._position()}."

    def _position(self) -> str:
        if self.way is None:
            return ""
        if self.way <= 0:
            return ". No better than independent columns"
        if self.way >= 1:
            return ". As good as other real rows"
        return f". That is {100 * self.way:.0f} % of the way from independent columns to real rows"

    def document(self) -> dict[str, Any]:
        ends = {"floor": self.floor, "ceiling": self.ceiling}
        interval = {"synthetic": self.synthetic.value, "low": self.synthetic.low, "high": self.synthetic.high}
        return {"topic": self.topic, "measure": self.name, "of": self.of, "better": self.better, **interval, **ends}


def _short(value: float) -> str:
    return f"{value:.3f}"


def against_reference(sides: Sides, topic: str, name: str, of: str, statistic: Statistic, most: float = 1.0) -> Measure:
    """A distance of each side from the reference. statistic: (reference, other) -> (GROUPS + 1,), as ``jackknifed`` takes it."""
    found = {k: statistic(sides.reference, sample) for k, sample in sides.compared.items()}
    return measure_of(topic, name, of, "less", found, (0.0, most))


def measure_of(
    topic: str, name: str, of: str, better: Better, found: Mapping[str, FloatArray], limits: tuple[float, float]
) -> Measure:
    """From the statistics (GROUPS + 1,) of the sides."""
    floor, ceiling = (float(found[k][0]) if k in found else None for k in ("independent", "real"))
    return Measure(topic, name, of, better, jackknifed(found["synthetic"]).within(*limits), floor, ceiling)
