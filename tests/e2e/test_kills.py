"""Every process of a federation is killed with SIGKILL in the middle of a round; the study ends, and nothing is spent twice.

Then it is stopped and resumed, as people would.
"""

from __future__ import annotations

import pytest
from deployed import until
from killing import VICTIMS, asked, begin, check, complete, federation, kill

from cohortium.errors import FederationError
from cohortium_server.desired_state import is_held


@pytest.mark.timeout(1800)
def test_a_study_outlives_every_process() -> None:
    with federation() as made:
        ordered, run = begin(made, 1, len(VICTIMS) + 1)
        for number, victim in enumerate(VICTIMS):
            until(lambda n=number: asked(run, n) and not complete(run, n), f"round {number} is under way")  # type: ignore[misc]
            kill(made, victim)
            until(lambda n=number: complete(run, n), f"round {number} is complete, though {victim} was killed")  # type: ignore[misc]
        last = len(VICTIMS)
        until(lambda: asked(run, last), "one more round is under way")
        made.say("coordinator", "stop", run, uid=made.coordinator_user)
        assert ordered.process is not None
        assert ordered.process.wait(60) == FederationError.exit_code, "whoever waits sees that it was stopped"
        assert not is_held(run)
        check(made, made.resume(run), run, 1)
