"""What users' process pools and ``copy`` do with our errors and values: they come out as they went in."""

from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cohortium
from cohortium.data.schema import Schema
from cohortium.errors import CODES, CohortiumError, StudyError
from cohortium.study.study import Study
from cohortium_server.release import Release

PACKAGES = ("cohortium", "cohortium_client", "cohortium_server", "cohortium_simulation")
WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda v: pickle.loads(pickle.dumps(v)),  # noqa: S301 - our own bytes
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def classes() -> Iterator[type[CohortiumError]]:
    """Every class of the tree, wherever in the product it is written."""
    for package in PACKAGES:
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    todo: list[type[CohortiumError]] = [CohortiumError]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if kind.__module__.partition(".")[0] in PACKAGES:
            yield kind


class OfItsOwnError(StudyError):
    """Made of other things than the others, and with more to say."""

    def __init__(self, rows: int, *, late: bool) -> None:
        super().__init__("E_PLAN_LIMIT", "here", f"{rows} rows", "Take fewer.")
        self.rows, self.late = rows, late


def errors() -> list[CohortiumError]:
    made = []
    for k, kind in enumerate(classes()):
        error = kind.__new__(kind)
        CohortiumError.__init__(
            error, sorted(CODES)[k], "where", "what", "Fix it."
        )  # whatever its own constructor takes
        made.append(error)
    return [*made, OfItsOwnError(3, late=True)]


@pytest.mark.parametrize("way", WAYS)
def test_every_error_of_the_tree_stays_what_it_is(way: str) -> None:
    found = errors()
    assert len(found) >= 17
    for error in found:
        error.add_note("a note")
        again = WAYS[way](error)
        assert (type(again), again.exit_code, str(again)) == (type(error), error.exit_code, str(error))
        assert vars(again) == vars(error)
        assert again.as_dict() == error.as_dict()


POOL = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from cohortium.errors import StudyError

class OfItsOwnError(StudyError):
    def __init__(self, rows, *, late):
        super().__init__("E_PLAN_LIMIT", "here", f"{rows} rows", "Take fewer.")
        self.rows, self.late = rows, late

def refuses():
    raise OfItsOwnError(7, late=False)

with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
    raised = pool.submit(refuses).exception(60)
print(type(raised).__name__, raised.as_dict(), raised.rows, raised.late)
"""


def test_an_error_comes_out_of_a_process_pool() -> None:
    """In a process of its own: this one has threads by now, of which a fork has none."""
    done = subprocess.run([sys.executable, "-c", POOL], capture_output=True, text=True, check=True, timeout=120)
    reported = {"code": "E_PLAN_LIMIT", "where": "here", "what": "7 rows", "fix": "Take fewer."}
    assert done.stdout == f"OfItsOwnError {reported} 7 False\n"


@pytest.mark.parametrize("way", WAYS)
def test_public_values_stay_what_they_are(way: str, schema: Schema, study: Study, release: Release) -> None:
    answer = release.query({"result": "positive"})  # from here on it has loaded what it answers from
    for value in (schema, study, answer, cohortium.between(0, 5), cohortium.other_than("x"), cohortium.Ledgers()):
        assert WAYS[way](value) == value
    again = WAYS[way](release)
    assert again == release
    assert again.query({"result": "positive"}) == answer
    assert again.sample(5, seed=1).equals(release.sample(5, seed=1))
