"""The figures to reach: of 2-way TVD, 3-way TVD, boosting AUC, logistic AUC, seconds, mean KS; None where none was set.

A case is (set, epsilon, generator, setting), in the words of ``cases.py``. Under secure sums any number of institutions
is wanted to be as good as one, within the noise of seeds.
"""

from __future__ import annotations

import math

Wanted = tuple[float | None, ...]
SECURE = (0.0178, 0.0445, 0.901, 0.905)

WANTED: dict[tuple[str, float, str, str], Wanted] = {
    ("adult16", 1.0, "sweep", "one"): (0.0155, 0.041, 0.909, 0.905, 10.0),
    ("bank", 1.0, "sweep", "one"): (0.026, 0.066, 0.897),
    ("sdnist", 1.0, "sweep", "one"): (0.062, 0.125, 0.918),
    ("covid", 1.0, "sweep", "one"): (0.041, 0.092, 0.65),
    ("heart", 1.0, "sweep", "one"): (0.245, 0.41, 0.865),
    ("bank", 1.0, "sweep on raw rows", "one"): (None, None, None, None, None, 0.012),
    ("adult16", 10.0, "sweep", "one"): (None, 0.022, 0.913),
    **{("adult16", 1.0, "sweep", f"{k} secure"): SECURE for k in (3, 5, 10, 20, 50)},
    ("adult16", 1.0, "sweep", "10 secure, 2 lost, 2 collude"): (0.0208,),
    ("adult16", 1.0, "sweep", "10 local"): (0.037, 0.088, 0.880, 0.883, 10.0),
    ("adult16", math.inf, "autoregressive", "one"): (0.013, 0.028, 0.914),
    ("adult16", 1.0, "autoregressive", "one"): (0.0195, 0.0425, 0.909, 0.905),
    ("adult16", 3.0, "autoregressive", "one"): (0.0145, 0.0335, 0.911),
    ("adult16", 10.0, "autoregressive", "one"): (0.0105, 0.027, 0.912),
    ("adult16", 1.0, "autoregressive", "10 secure"): (0.0195, 0.0425, 0.909, None, 60.0),
    ("adult16", 1.0, "autoregressive", "10 local"): (0.042, 0.075, 0.902),
    ("adult16", 3.0, "autoregressive", "10 local"): (0.028, 0.052, 0.909),
    ("adult16", 10.0, "autoregressive", "10 local"): (0.021, 0.041, 0.911),
    ("adult16", math.inf, "diffusion", "one"): (0.023, 0.042, 0.912),
    ("adult16", 1.0, "diffusion", "one"): (0.06, 0.095, 0.89),
    ("adult16", 3.0, "diffusion", "one"): (0.0393, 0.0627, 0.902),
    ("adult16", 3.0, "diffusion", "10 secure"): (0.0393, 0.0627, 0.902),
    ("adult16", math.inf, "tvae", "one"): (0.027, 0.055, 0.89),
    ("adult16", 3.0, "tvae", "one"): (0.06, 0.11, 0.86),
    ("adult16", math.inf, "ctgan", "one"): (0.05, 0.10, 0.88),
    ("adult16", 3.0, "ctgan", "one"): (0.09, 0.16, 0.80),
}
ORDER = ("pairs", "triples", "boosting", "logistic", "seconds", "ks")
LARGER_IS_BETTER = {"boosting", "logistic"}


def missed(group: tuple[str, float, str, str], measure: str, value: float) -> tuple[float | None, bool]:
    """The figure wanted of a measure, if there is one, and whether ``value`` misses it."""
    figures = dict(zip(ORDER, WANTED.get(group, ()), strict=False))
    wanted = figures.get(measure)
    if wanted is None:
        return None, False
    return wanted, value < wanted if measure in LARGER_IS_BETTER else value > wanted
