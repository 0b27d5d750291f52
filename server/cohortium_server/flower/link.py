"""The coordinator's link to the institutions: Flower's SuperLink behind two doors.

Flower serves everything on one port and does not authenticate who starts a run. Here the door that institutions reach serves only
the Fleet API, where a registered node signs every request. The other door is on loopback: the Control API for holders of
the federation's control secret, and the Runtime API, which gives tasks to holders of the executor's secret. Both doors use
TLS 1.3 with the federation's own certificate.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
import ssl
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import uvicorn

from cohortium.flower.doors import App, Door, Scope
from cohortium.flower.internals import private
from cohortium.flower_names import DATABASE, LINK, LINK_COMMAND, MODULE, PROCESS, WAITS, Api, LinkOption
from cohortium.system.listening import bound
from cohortium_server.flower.knocks import Knocks
from cohortium_server.flower.tidying import make_shrinkable
from cohortium_server.membership.federation import Federation

HEADER = b"x-cohortium-control"
LOCKED = 25.0  # seconds that a request may wait until it can write; whoever sent it waits for 30


def of_the_fleet(scope: Scope) -> bool:
    return str(scope["path"]).startswith(Api.FLEET)


def of_this_machine(secret: str) -> Callable[[Scope], bool]:
    """Admits to the Control API whoever shows the secret, and to the Runtime API, which has secrets of its own."""
    wanted = secret.encode()

    def admits(scope: Scope) -> bool:
        path = str(scope["path"])
        if path.startswith(Api.CONTROL):
            shown = [value for name, value in scope["headers"] if name == HEADER]
            return len(shown) == 1 and hmac.compare_digest(shown[0], wanted)
        return path.startswith((Api.RUNTIME, Api.HEALTH))

    return admits


def run_link(federation: Federation) -> None:
    """Serve both doors until a signal stops the process."""
    logging.getLogger(MODULE).addFilter(Knocks(federation))
    make_shrinkable(federation.link_database)
    be_patient()
    command = private(LINK)
    command.uvicorn = SimpleNamespace(run=lambda app, log_config=None, **_: serve_doors(app, federation, log_config))
    sys.argv = [LINK_COMMAND, *_arguments(federation)]
    command.flower_superlink()


def be_patient() -> None:
    """Have the link wait for its database for longer than the five seconds that Flower allows.

    On a busy machine the disk can take longer than that. The link then answers with an error that nobody retries: nodes and the
    executor end, the executor's studies with it, and all of them have to be started again.
    """
    database = private(DATABASE)
    others = [(name, value) for name, value in database.SQLITE_PRAGMAS if name != WAITS]
    database.SQLITE_PRAGMAS = ((WAITS, f"{1000 * LOCKED:.0f}"), *others)


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
    outer = _server(Door(app, of_the_fleet), federation, log_config, "off")
    inner = _server(Door(app, of_this_machine(secret)), federation, log_config, "on")

    async def both(within: list[socket.socket], without: list[socket.socket]) -> None:
        await asyncio.gather(inner.serve(within), outer.serve(without))

    asyncio.run(both(bound(federation.control), bound(federation.listen)))


def _server(door: Door, federation: Federation, log_config: dict[str, Any] | None, lifespan: Any) -> uvicorn.Server:
    config = uvicorn.Config(
        door,
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
