"""The coordinator's link to the institutions: Flower's SuperLink behind two doors.

Flower serves everything at one port, and asks nobody who starts a run who they are. Here the door that the institutions
see answers for the fleet alone, where every request is signed by a registered node. The other door is on loopback: the
Control API for whoever shows the federation's control secret, and the Runtime API, whose tasks are given to whoever shows
the executor's. Both doors speak TLS 1.3 with the federation's own certificate.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import uvicorn

from cohortium.flower.internals import private
from cohortium.flower.names import LINK, LINK_COMMAND, PROCESS, Api, LinkOption
from cohortium_server.federation import Federation
from cohortium_server.tidying import make_shrinkable

HEADER = b"x-cohortium-control"

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Callable[[dict[str, Any]], Awaitable[None]]], Awaitable[None]]


@dataclass(frozen=True)
class Door:
    """An ASGI application that passes on what ``admits`` lets through, and knows nothing of the rest (404)."""

    app: App
    admits: Callable[[Scope], bool]

    async def __call__(self, scope: Scope, receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self.admits(scope)):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "websocket.close", "code": 1008})


def of_the_fleet(scope: Scope) -> bool:
    return str(scope["path"]).startswith(Api.FLEET)


def of_this_machine(secret: str) -> Callable[[Scope], bool]:
    """The Control API for whoever shows the secret, and the Runtime API, which has secrets of its own."""
    wanted = secret.encode()

    def admits(scope: Scope) -> bool:
        path = str(scope["path"])
        if path.startswith(Api.CONTROL):
            shown = [value for name, value in scope["headers"] if name == HEADER]
            return len(shown) == 1 and hmac.compare_digest(shown[0], wanted)
        return path.startswith((Api.RUNTIME, Api.HEALTH))

    return admits


def run_link(federation: Federation) -> None:
    """Serve both doors until told to stop."""
    make_shrinkable(federation.link_database)
    command = private(LINK)
    command.uvicorn = SimpleNamespace(run=lambda app, log_config=None, **_: serve_doors(app, federation, log_config))
    sys.argv = [LINK_COMMAND, *_arguments(federation)]
    command.flower_superlink()


def _arguments(federation: Federation) -> list[str]:
    return [
        *(LinkOption.ROOT, str(federation.root_certificate)),
        *(LinkOption.CERTIFICATE, str(federation.server_certificate)),
        *(LinkOption.KEY, str(federation.server_key)),
        LinkOption.NODES_SIGN,
        *(LinkOption.ISOLATION, PROCESS),
        *(LinkOption.SECRET, str(federation.executor_secret)),
        *(LinkOption.DATABASE, str(federation.link_database)),
        LinkOption.NO_INSTALLING,
        *(LinkOption.HOST, federation.control.host),
        *(LinkOption.PORT, str(federation.control.port)),
    ]


def serve_doors(app: App, federation: Federation, log_config: dict[str, Any] | None) -> None:
    """Both doors in one loop, which share the application and its state."""
    secret = federation.control_secret.read_text(encoding="ascii").strip()
    outer = _server(Door(app, of_the_fleet), federation, federation.listen, log_config, "off")
    inner = _server(Door(app, of_this_machine(secret)), federation, federation.control, log_config, "on")

    async def both() -> None:
        await asyncio.gather(inner.serve(), outer.serve())

    asyncio.run(both())


def _server(
    door: Door, federation: Federation, at: Any, log_config: dict[str, Any] | None, lifespan: Any
) -> uvicorn.Server:
    config = uvicorn.Config(
        door,
        host=at.host,
        port=at.port,
        lifespan=lifespan,
        log_config=log_config,
        access_log=False,
        server_header=False,
        ssl_certfile=str(federation.server_certificate),
        ssl_keyfile=str(federation.server_key),
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    return uvicorn.Server(config)
