"""Who joins a federation: its file, an institution, its application and its admission."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomli_w

from cohortium.federation.kit import load_kit
from cohortium.federation.membership import Application
from cohortium_client.custodian.institution import Institution, init_institution, load_institution
from cohortium_client.joining import Joined, join
from cohortium_server.membership.federation import Federation
from cohortium_server.membership.members import admit

HOST = "coordinator.example.org"
POLICY = {"epsilon_per_population": 10.0, "delta": 1e-6}


def written(folder: Path, *names: str, **head: Any) -> Path:
    """A federation.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "federation": {"name": "clinics", "address": f"{HOST}:8443"} | head,
        "institution": [{"name": n} for n in names or ("north", "south")],
    }
    (folder / "federation.toml").write_text(tomli_w.dumps(document))
    return folder / "federation.toml"


def site(folder: Path, name: str = "north") -> Institution:
    if (folder / "institution.toml").exists():
        return load_institution(folder)
    return init_institution(folder, name, {"path": "table.csv"}, "patients", POLICY)


def joined(fed: Federation, name: str = "north", at: Path | None = None, **how: bool) -> Joined:
    folder = at or fed.folder.parent / name
    return join(load_kit(fed.kits / f"{name}.zip"), site(folder, name), folder / "relay", **how)


def admitted(fed: Federation, made: Joined) -> Application:
    return admit(fed, made.relay.application, made.application.fingerprint).application
