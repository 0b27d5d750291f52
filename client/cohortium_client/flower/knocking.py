"""Asks the coordinator to admit the node until it does, at growing intervals, and logs each reason for a refusal once.

Flower's node exits when it is refused; restarting it would only make it ask again. Nothing that may cause a refusal can be
fixed by a restart on this side: the coordinator is unreachable, presents a certificate that is not trusted, has not admitted
the key, or still counts the previous node as connected. So this waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from cohortium.errors import CohortiumError, FederationError, MembershipError
from cohortium.federation.probe import ask
from cohortium.system.logs import about
from cohortium_client.flower.registration import refusal, require_member
from cohortium_client.relay import Relay

FIRST, LONGEST = 1.0, 30.0  # seconds between two knocks
SLOWER = 1.5  # by how much each pause is longer than the one before
_log = logging.getLogger("cohortium.node")


@dataclass
class Knocking:
    """Wraps ``knock`` (Flower's FleetHttpClient.ActivateNode) and repeats it until it is answered."""

    relay: Relay
    knock: Callable[[Any, Any], Any]
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, client: Any, request: Any) -> Any:
        if not request.heartbeat_interval:  # this only asks whether the node is known (registration.py)
            return self.knock(client, request)
        pause, why = FIRST, None
        while True:
            try:
                answer = self.knock(client, request)
                break
            except httpx.HTTPStatusError as error:
                now = self._refused(error.response.status_code, why)
            except httpx.TransportError as error:
                now = self._unreached(error)
            if str(now) != str(why):
                _log.warning("%s Trying again until it succeeds.", now, extra=about(code=now.code))
            why = now
            self.sleep(pause)
            pause = min(pause * SLOWER, LONGEST)
        if why is not None:
            _log.info("the coordinator has admitted the node")
        return answer

    def _refused(self, status: int, before: CohortiumError | None) -> CohortiumError:
        """The reason. before: the one of the last attempt. Whether the key is admitted is asked once, as asking is an attempt, too."""
        if status != HTTPStatus.PRECONDITION_FAILED:
            return refusal(self.relay, status)
        if before is not None and before.code == "E_MEMBER":
            return before
        try:
            require_member(self.relay)
        except CohortiumError as error:
            return error
        what, fix = "the coordinator still counts the previous node as online", "Wait: it soon notices that it is gone."
        return MembershipError("E_MEMBER", self.relay.institution, what, fix)

    def _unreached(self, error: Exception) -> CohortiumError:
        try:
            ask(self.relay.address, "/", self.relay.root, proxy=self.relay.proxy())
        except CohortiumError as why:
            return why
        what = f"it does not answer as it should ({type(error).__name__})"
        return FederationError("E_LINK", str(self.relay.address), what, "Ask the coordinator whether it serves.")
