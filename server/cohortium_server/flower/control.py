"""The reconciler's requests to the link: who is a member, and which run to start or stop."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from cohortium.errors import FederationError
from cohortium.flower.internals import private
from cohortium.flower_names import BUNDLES, CONTROL, CONTROL_WORDS, FAB, INTERCEPTORS, RUNS, Status
from cohortium_server.flower.link import HEADER
from cohortium_server.membership.federation import Federation

BUNDLE = Path(__file__).parent / "bundle"


@dataclass(frozen=True)
class Node:
    """A node that is registered. key: its public key, in PEM."""

    number: int
    key: bytes
    online: bool


class _ShowsSecret:
    """Adds the control secret to every request."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def intercept(self, context: Any, call_next: Any) -> Any:
        context.request.headers[HEADER.decode()] = self._secret
        return call_next(context)


@contextlib.contextmanager
def control(federation: Federation) -> Iterator[Control]:
    """The Control API; FederationError E_LINK where the link does not answer or rejects the secret."""
    clients = private(CONTROL)
    versions = private(INTERCEPTORS)
    secret = federation.control_secret.read_text(encoding="ascii").strip()
    client = clients.ControlHttpClient.from_server_address(
        server_address=str(federation.control),
        insecure=False,
        root_certificates=str(federation.root_certificate),
        interceptors=[versions.RuntimeVersionHttpInterceptor(component_name="cohortium"), _ShowsSecret(secret)],
    )
    try:
        yield Control(client)
    except httpx.HTTPError as error:
        what = f"it does not answer as it should ({type(error).__name__})"
        raise FederationError("E_LINK", "coordinator", what, "Start it: cohortium coordinator serve FOLDER.") from None
    finally:
        client.close()


class Control:
    """The Control API, as far as it is needed here."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._words = private(CONTROL_WORDS)

    def nodes(self) -> list[Node]:
        listed = self._client.ListNodes(self._words.ListNodesRequest()).nodes_info
        known = [n for n in listed if n.status != Status.UNREGISTERED]
        return [Node(n.node_id, n.public_key, n.status == Status.ONLINE) for n in known]

    def register(self, key: bytes, name: str) -> None:
        self._client.RegisterNode(self._words.RegisterNodeRequest(public_key=key, name=name))

    def unregister(self, number: int) -> None:
        self._client.UnregisterNode(self._words.UnregisterNodeRequest(node_id=number))

    def start(self, config: Mapping[str, str]) -> int:
        """Start a run of the bundle; Flower's number for it."""
        serde = private(RUNS)
        request = self._words.StartRunRequest(
            fab=serde.fab_to_proto(_bundle()), override_config=serde.user_config_to_proto(dict(config))
        )
        return int(self._client.StartRun(request).run_id)

    def stop(self, number: int) -> None:
        self._client.StopRun(self._words.StopRunRequest(run_id=number))

    def unfinished(self) -> dict[str, list[int]]:
        """Flower's numbers of unfinished runs, by the run that each was started for."""
        found: dict[str, list[int]] = {}
        for number, run in self._client.ListRuns(self._words.ListRunsRequest()).run_dict.items():
            if run.status.status != Status.FINISHED:
                found.setdefault(run.override_config["resume"].string, []).append(number)
        return found


@cache
def _bundle() -> Any:
    """The bundle without code, as Flower ships it."""
    import hashlib

    packed: bytes = private(BUNDLES).build_fab_from_disk(BUNDLE)
    return private(FAB).Fab(hashlib.sha256(packed).hexdigest(), packed, {})
