"""The benchmark's tables in README (six rows) and in docs/benchmarks.md (all of them), from its runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cases
from cases import BASELINES, GENERATORS, Run
from peers.runner import PEERS
from wanted import WANTED

BEGIN, END = "<!-- utility: begin (python benchmarks/utility.py --show --readme) -->", "<!-- utility: end -->"
FEW_BEGIN, FEW_END = "<!-- results: begin (python benchmarks/utility.py --show --readme) -->", "<!-- results: end -->"
FEW = ("adult16", "bank", "sdnist", "covid", "heart16", "nass")
WITHIN, BEYOND = 1.1, " ✗"  # times the distance of independent columns, and what stands beside a figure beyond
FEW_COLUMNS = {
    "pairs": {"sweep": "sweep", "dpmm MST": "dpmm MST", "independent columns": "independent"},
    "boosting": {"sweep": "sweep", "dpmm MST": "dpmm MST", "real rows": "real rows"},
}
NAMES = {
    "adult16": "Adult (39,073 × 14)",
    "bank": "Bank (36,169 × 17)",
    "sdnist": "ACS Massachusetts (6,108 × 21)",
    "covid": "COVID-19 tests (12,420 × 11)",
    "heart": "Heart disease (736 × 15), coded",
    "heart16": "Heart disease, in 16 cells",
    "nass": "Crashes (20,974 × 13), tuned for by nobody",
}
SHOWN = ("pairs", "triples", "boosting", "logistic", "ks", "seconds")
OURS = tuple(name for name in GENERATORS if "warm start" not in name)
EPSILONS = (0.3, 1.0, 3.0, 10.0, math.inf)
Groups = dict[tuple[str, float, str, str], list[Run]]


def written(text: str, runs: Sequence[Run]) -> str:
    """A page with all tables between its markers made anew; ValueError where there are no markers."""
    groups = cases.groups(runs)
    tables = "\n\n".join(t for t in (at_one(groups), by_epsilon(groups), by_setting(groups)) if t)
    return _between(text, BEGIN, tables, END)


def summarised(text: str, runs: Sequence[Run]) -> str:
    """A page with the short table between its markers made anew; ValueError where there are no markers."""
    return _between(text, FEW_BEGIN, at_a_glance(cases.groups(runs)), FEW_END)


PAGES = {"README.md": summarised, "docs/benchmarks.md": written}


def _between(text: str, begin: str, tables: str, end: str) -> str:
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError("the page has no markers for the tables")
    return f"{before}{begin}\n\n{tables}\n\n{end}{after}"


def at_a_glance(groups: Groups) -> str:
    """Epsilon 1, one institution: the default generator and one peer, a line for each of six tables."""
    reported = [(measure, generator) for measure, chosen in FEW_COLUMNS.items() for generator in chosen]
    names = {"pairs": "2-way TVD", "boosting": "AUC"}
    heads = [f"{names[measure]}: {FEW_COLUMNS[measure][generator]}" for measure, generator in reported]
    rows = [_row("rows × columns", *heads), _row("---", *["---:"] * len(reported))]
    for name in FEW:
        epsilons = [math.inf if generator in BASELINES else 1.0 for _, generator in reported]
        found = [groups.get((name, e, g, "one"), []) for (_, g), e in zip(reported, epsilons, strict=True)]
        figures = [figure(runs, m) if runs else "" for (m, _), runs in zip(reported, found, strict=True)]
        rows.append(_row(NAMES[name], figures[0] + (BEYOND if name in farther(groups) else ""), *figures[1:]))
    return "\n".join(rows)


def farther(groups: Groups) -> list[str]:
    """Of the six tables those of which the default's pairs are more than WITHIN times as far as independent columns without noise."""
    both = [
        (name, groups.get((name, 1.0, "sweep", "one")), groups.get((name, math.inf, "independent columns", "one")))
        for name in FEW
    ]
    both = [
        (name, cases.mean(ours, "pairs"), cases.mean(alone, "pairs")) for name, ours, alone in both if ours and alone
    ]
    return [name for name, ours, alone in both if ours > WITHIN * alone]


def at_one(groups: Groups) -> str:
    """Epsilon 1, one institution: every measure."""
    rows = [_row("epsilon 1, one institution", "", *(cases.MEASURES[m] for m in SHOWN), "runs"), _row(*["---"] * 9)]
    for name, title in NAMES.items():
        wanted = WANTED.get((name, 1.0, "sweep", "one"), ())
        for generator in (*BASELINES, *OURS, *PEERS):
            epsilon = math.inf if generator in BASELINES else 1.0
            if runs := groups.get((name, epsilon, generator, "one")):
                figures = (figure(runs, m) for m in SHOWN)
                seeds = "" if generator in BASELINES else str(len(runs))
                rows.append(_row(title, generator, *figures, seeds))
                title = ""
        if wanted and not title:
            signs = zip(SHOWN, ("≤", "≤", "≥", "≥"), strict=False)
            reported = [f"{s} {_short(w, m)}" for (m, s), w in zip(signs, wanted, strict=False) if w is not None]
            rows.append(_row("", "*to reach*", *reported, *[""] * (7 - len(reported))))
    return "\n".join(rows)


def by_epsilon(groups: Groups) -> str:
    """Every budget, one institution: three measures in a cell."""
    heads = [f"epsilon {e:g}" if e < math.inf else "no privacy" for e in EPSILONS]
    keys = [[(name, e, g, "one") for e in EPSILONS] for name in NAMES for g in (*OURS, *PEERS)]
    return _in_cells("2-way TVD / 3-way TVD / boosting AUC", heads, keys, groups)


def by_setting(groups: Groups) -> str:
    """One institution, ten under secure sum, ten with local noise, at epsilon 1."""
    shown = {"one": "one institution", "10 secure": "ten, secure sum", "10 local": "ten, local noise"}
    keys = [[(name, 1.0, g, s) for s in shown] for name in NAMES for g in OURS]
    return _in_cells("the same at epsilon 1", list(shown.values()), keys, groups)


def _in_cells(corner: str, heads: list[str], keys: list[list[tuple[str, float, str, str]]], groups: Groups) -> str:
    rows, last = [_row(corner, "", *heads), _row(*["---"] * (2 + len(heads)))], ""
    for line in keys:
        cells = [_three(groups.get(key, [])) for key in line]
        if sum(bool(c) for c in cells) > 1:  # one alone is in the first table
            rows.append(_row(NAMES[line[0][0]] if line[0][0] != last else "", line[0][2], *cells))
            last = line[0][0]
    return "\n".join(rows) if last else ""


def _three(runs: list[Run]) -> str:
    return " / ".join(figure(runs, m) for m in SHOWN[:3]) if any(r.figures for r in runs) else ""


def figure(runs: Sequence[Run], measure: str) -> str:
    if not any(r.figures for r in runs):
        return "did not finish" if measure == "seconds" else ""
    value = cases.mean(runs, measure)
    return "" if math.isnan(value) or (measure == "seconds" and value == 0) else _short(value, measure)


def _short(value: float, measure: str) -> str:
    digits = {"seconds": 0, "boosting": 3, "logistic": 3}.get(measure, 4)
    return "0" if value == 0 else f"{value:.{digits}f}".removeprefix("0" if digits else "")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
