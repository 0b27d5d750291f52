"""Whether the coordinator knows the relay's node, asked in a way that changes nothing."""

from __future__ import annotations

from http import HTTPStatus

import httpx

from cohortium.errors import CohortiumError, FederationError, MembershipError
from cohortium.flower.internals import private
from cohortium.flower_names import CLOCKS, FLEET, FLEET_WORDS, INTERCEPTORS, KEYS, SIGNING, Api
from cohortium.system.proxies import using_only
from cohortium_client.relay import Relay, load_node_key

NO_TIME = 0.0  # seconds, for which Flower activates no node; but before it refuses, it looks the node up


def ahead_and_behind() -> tuple[float, float]:
    """By how many seconds a node's clock may be ahead of the coordinator's, and behind it, before Flower refuses it."""
    constants = private(CLOCKS)
    ahead, old = float(constants.SYSTEM_TIME_TOLERANCE), float(constants.TIMESTAMP_TOLERANCE)
    return ahead, old + ahead


def require_member(relay: Relay) -> None:
    """MembershipError E_MEMBER if the coordinator has not admitted the relay's key, or does not believe its signature.

    FederationError E_LINK if it does not answer as Flower does.
    """
    if (status := _asked(relay)) != HTTPStatus.BAD_REQUEST:
        raise refusal(relay, status)


def refusal(relay: Relay, status: int) -> CohortiumError:
    """The meaning of an HTTP status with which the coordinator answers a node."""
    if status == HTTPStatus.PRECONDITION_FAILED:
        fix = "Send RELAY/application.json to the coordinator, and read out its fingerprint when you are called."
        return MembershipError("E_MEMBER", relay.institution, "the coordinator has not admitted this relay's key", fix)
    if status == HTTPStatus.UNAUTHORIZED:
        fix = "Set this machine's clock; it must be right to a few seconds."
        return MembershipError("E_MEMBER", relay.institution, "the coordinator does not believe its signature", fix)
    fix = f"Check the proxy in front of the coordinator: it must pass on {Api.FLEET}."
    return FederationError("E_LINK", str(relay.address), f"it answers a node with HTTP {status}", fix)


def _asked(relay: Relay) -> int:
    """The coordinator's HTTP status for a request to activate the node for no time at all."""
    client = private(FLEET).FleetHttpClient
    signing = private(SIGNING).NodeAuthHttpInterceptor
    versions = private(INTERCEPTORS).RuntimeVersionHttpInterceptor
    keys = private(KEYS)
    words = private(FLEET_WORDS)
    key = load_node_key(relay.key)
    interceptors = [versions(component_name="SuperNode"), signing(key, key.public_key())]
    shown = keys.public_key_to_bytes(key.public_key())
    request = words.ActivateNodeRequest(public_key=shown, heartbeat_interval=NO_TIME)
    try:
        with (
            using_only(relay.proxy()),
            client.from_server_address(str(relay.address), False, str(relay.root), interceptors=interceptors) as link,
        ):
            link.ActivateNode(request)
        return int(HTTPStatus.OK)
    except httpx.HTTPStatusError as error:
        return error.response.status_code
    except (httpx.HTTPError, ValueError) as error:
        what, fix = (
            f"it does not answer as it should ({type(error).__name__})",
            "Ask the coordinator whether it serves.",
        )
        raise FederationError("E_LINK", str(relay.address), what, fix) from None
