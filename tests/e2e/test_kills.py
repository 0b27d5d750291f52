"""Every process of a federation is killed with SIGKILL in the middle of a round; the study ends, and nothing is spent twice."""

from __future__ import annotations

import pytest
from deployed import until
from killing import VICTIMS, asked, begin, check, complete, federation, kill


@pytest.mark.timeout(900)
def test_a_study_outlives_every_process() -> None:
    with federation() as made:
        ordered, run = begin(made, 1, len(VICTIMS))
        for number, victim in enumerate(VICTIMS):
            until(lambda n=number: asked(run, n) and not complete(run, n), f"round {number} is under way")  # type: ignore[misc]
            kill(made, victim)
            until(lambda n=number: complete(run, n), f"round {number} is complete, though {victim} was killed")  # type: ignore[misc]
        check(made, ordered, run, 1)
