"""The institution's node in the federation: Flower's SuperNode, started with what this side has decided.

It asks the coordinator for messages and hands them to the launcher beside it, which alone decides what runs.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from cohortium.flower.doors import App, Door, Scope
from cohortium.flower.internals import private
from cohortium.flower_names import (
    BEAT,
    FLEET,
    NODE,
    NODE_APP,
    NODE_BEAT,
    NODE_COMMAND,
    NODE_LOOP,
    PROCESS,
    TASK_BEAT,
    Api,
    NodeOption,
)
from cohortium.system.proxies import Proxy, use_only
from cohortium_client.flower.knocking import Knocking
from cohortium_client.flower.leaving import Leaving
from cohortium_client.flower.liveness import is_answering
from cohortium_client.flower.replies import Replies
from cohortium_client.flower.sent import sent_whole
from cohortium_client.relay import Relay

NODE_BEATS = 10  # seconds, the least that Flower allows: a dead node counts as gone, and may return, after two of them
TASK_BEATS = 20  # seconds that a relay may take to start; a dead one counts as gone after two of them
BUSY, IDLE = 0.25, 2.0  # seconds between two polls for messages, while busy and later
LIVELY = 120.0  # seconds after a message that count as busy
ANSWERING = 0.05  # seconds between two polls for the relay's answer
ABANDONED = 15.0  # seconds to wait for an answer that nobody is making
_log = logging.getLogger("cohortium.node")


@dataclass
class Pace:
    """How long the node's loop sleeps. Flower's sleeps three seconds whenever nothing has come, half a second for an answer.

    is_alive: whether a relay is answering. A node that waits for one that has died is ended, to be started again; the
    coordinator asks again, and the custodian repeats what it has answered already.
    """

    is_alive: Callable[[], bool]
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    last: float = field(default=0.0)
    missed: int = 0

    def __post_init__(self) -> None:
        self.last = self.clock()

    def __call__(self, seconds: float) -> None:
        if seconds < 1:  # an answer is being made
            self.last = self.clock()
            self.missed = 0 if self.is_alive() else self.missed + 1
            if self.missed * ANSWERING > ABANDONED:
                _log.warning("the relay that was answering has died")
                raise SystemExit(1)
            self.sleep(ANSWERING)
        else:
            self.missed = 0
            self.sleep(BUSY if self.clock() - self.last < LIVELY else IDLE)


def beat_faster() -> None:
    """Detect dead nodes and relays sooner than Flower's half minutes; for the node's process and the launcher's."""
    for part, seconds in ((BEAT, NODE_BEATS), (NODE_BEAT, NODE_BEATS), (TASK_BEAT, TASK_BEATS)):
        private(part).HEARTBEAT_DEFAULT_INTERVAL = seconds


def run_node(relay: Relay, port: int, secret: Path, proxy: Proxy | None = None) -> None:
    """Run the node until a signal stops it. port: where the launcher reaches it on this machine, if it shows what ``secret`` holds.

    proxy: on the way to the coordinator, the only party to which the node opens connections.
    """
    use_only(proxy)
    fleet = private(FLEET).FleetHttpClient
    knocking = Knocking(relay, fleet.ActivateNode)
    fleet.ActivateNode = lambda client, request: knocking(client, request)
    loop = private(NODE_LOOP)
    loop.time, replies, leaving = SimpleNamespace(sleep=Pace(partial(is_answering, relay.home))), Replies(), Leaving()
    loop._pull_and_store_message = leaving.taking(replies.taking(loop._pull_and_store_message))
    loop._push_messages = leaving.sending(sent_whole(replies.sending(loop._push_messages)))
    app = private(NODE_APP)
    app.create_app = behind_a_door(app.create_app)
    sys.argv = [NODE_COMMAND, *_arguments(relay, port, secret)]
    private(NODE).flower_supernode()


def behind_a_door(create: Callable[..., App]) -> Callable[..., App]:
    """The app that serves the node's port on this machine, which other users can reach as well.

    Anybody may ask whether it is alive. Every call of the Runtime API requires a secret, and nothing else is served.
    """
    return lambda *args, **options: Door(create(*args, **options), of_a_launcher)


def of_a_launcher(scope: Scope) -> bool:
    path = str(scope["path"])
    return path.startswith(Api.RUNTIME) or path == Api.HEALTH


def _arguments(relay: Relay, port: int, secret: Path) -> list[str]:
    return [
        *(NodeOption.LINK, str(relay.address)),
        *(NodeOption.ROOT, str(relay.root)),
        *(NodeOption.KEY, str(relay.key)),
        *(NodeOption.HOST, "127.0.0.1"),
        *(NodeOption.PORT, str(port)),
        *(NodeOption.ISOLATION, PROCESS),
        *(NodeOption.SECRET, str(secret)),
        *(NodeOption.CONFIG, f"socket={json.dumps(str(relay.socket))}"),
    ]
