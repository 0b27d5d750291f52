"""What runs at an institution's node: the relay installed here, whatever bundle the coordinator sent.

Flower unpacks a bundle and imports what it names. Here no bundle is unpacked and nothing of it is imported: a fork of this
process, with only the installed relay in it, answers the message. With a version of Flower that changed what this relies on,
nothing runs.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from cohortium.flower.executor import run_forking
from cohortium.flower.internals import private
from cohortium.flower_names import CLIENTAPP, Task
from cohortium_client.flower.liveness import answer_as_long_as_we_live


def run_launcher(port: int, secret: bytes, home: Path) -> None:
    """Answer the messages of the node at ``port`` of this machine until a signal stops the process."""
    run_forking(Task.CLIENTAPP, partial(_answer, _installed_only(), home), f"127.0.0.1:{port}", secret)


def _installed_only() -> Any:
    """Flower's module of tasks, changed so that no bundle is unpacked or imported."""
    from cohortium_client.app import app

    tasks = private(CLIENTAPP)
    tasks.install_from_fab = lambda *_, **__: None
    tasks.get_load_client_app_fn = lambda *_, **__: lambda *_, **__: app
    return tasks


def _answer(tasks: Any, home: Path, spec: Any) -> None:
    """One message, in a fork of its own."""
    answer_as_long_as_we_live(home)
    tasks.run_clientapp(
        runtime_api_address=spec.runtime_api_address,
        token=spec.token,
        insecure=True,  # on this machine
        certificates=None,
        parent_pid=None,
        runtime_dependency_install=False,
    )
