"""From nothing to a verified release: a coordinator and four institutions, each with processes of its own, one on PostgreSQL.

TLS, node authentication, secure sum. Every process finds variables of a proxy that leads nowhere in its environment, and one relay
has a proxy of its own on the way to the coordinator. What the release is worth is compared with the same study in one process.
"""

# ruff: noqa: F401, F811 (fixtures are imported by name)

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from databases import database, postgresql
from deployed import FIGURES, Deployed, deployed
from postgres import OWNER, PASSWORDS, Cluster, password_file
from proxying import Connecting, connecting, nowhere
from sqlalchemy import create_engine

from cohortium.ledger.records import Charge
from cohortium.ledger.store import Ledger
from cohortium.study.study import Institution, load_study
from cohortium_server.release import Release, load_release
from cohortium_simulation.demo import INSTITUTION, compare, demo_data
from cohortium_simulation.experiment import Ledgers, simulate

DATA = Path(__file__).parents[2] / "simulation" / "cohortium_simulation" / "data"
LARGEST = 4
STUDY = """
[study]
name = "clinics-covid-2020"
edition = 2
purpose = "share a test cohort for triage models"
serial = 1

[privacy]
epsilon = 3.0
delta = 1e-6
trust = "secure-sum"
institutions_per_person = 2

[generator]
kind = "sweep"

[release]
rows = 12000
"""


def parts() -> dict[str, pd.DataFrame]:
    """The demo's largest institutions' tables."""
    table, _ = demo_data()
    by_size = sorted(table.groupby(INSTITUTION), key=lambda part: -len(part[1]))[:LARGEST]
    return {str(name): part.drop(columns=INSTITUTION) for name, part in by_size}


def in_database(cluster: Cluster, rows: pd.DataFrame) -> list[str]:
    """Put a table into the database; the words with which an institution finds it there."""
    address = cluster.url(OWNER).replace("postgresql://", "postgresql+psycopg://")
    rows.to_sql("tests", create_engine(address, connect_args={"password": PASSWORDS[OWNER]}), index=False)
    return ["--url", cluster.url(), "--query", "SELECT * FROM tests"]


@pytest.mark.timeout(900)
def test_from_nothing_to_a_verified_release(
    database: Cluster | None,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in nowhere().items():
        monkeypatch.setenv(name, value)
    tables = parts()
    last = list(tables)[-1]
    places = tables if database is None else {**tables, last: in_database(database, tables[last])}
    with (
        connecting("relay:the-proxys-word") as proxy,
        deployed((DATA / "schema.toml").read_text(), places) as federation,
    ):
        through(federation, next(iter(tables)), proxy)
        if database is not None:
            let_in(federation, database, last)
        federation.say("institution", "check", federation.site(last), uid=federation.owner(last))
        federation.serve()
        assert set(proxy.asked) == {f"{federation.host}:{federation.port}"}
        study = federation.agree(STUDY)
        result = federation.run(study, federation.folder / "out" / "release")
        with federation.timed("verify"):
            said = federation.say("verify", result["release"])
            assert "what was signed" in said and "Federation: every institution's own custodian" in said
        assert not [p for p in federation.folder.glob("*.log") if "proxys-word" in p.read_text()]
        release = load_release(Path(result["release"]))
        check_budget(federation, release.manifest["guarantee"]["epsilon"])
        check_quality(federation, tables, release, tmp_path)
        record_property(FIGURES, figures(federation))


def through(federation: Deployed, name: str, proxy: Connecting) -> None:
    """Give a relay its way to the coordinator, and have the check find that."""
    file = federation.relay(name) / "relay.toml"
    file.write_text(f'proxy = "{proxy.url}"\n{file.read_text()}')
    file.chmod(0o600)
    assert f"http://127.0.0.1:{proxy.port}" in federation.say("institution", "check", file.parent, expect=1)


def let_in(federation: Deployed, cluster: Cluster, name: str) -> None:
    """Let the institution read its database: a password in a file of its own."""
    site = federation.site(name)
    file = site / "institution.toml"
    named = password_file(site)
    file.write_text(re.sub(r"(?m)^url = (.*)$", rf'url = \1\npassword_file = "{named}"', file.read_text()))
    if federation.others:
        federation.give(site, federation.owner(name))
        cluster.folder.chmod(0o711)  # its socket lies there


def check_budget(federation: Deployed, promised: float) -> None:
    """Every institution was charged once, and what the public is promised is what was asked for."""
    assert promised <= 3.0
    for name in federation.names:
        with Ledger(federation.site(name) / "ledger.sqlite") as ledger:
            ledger.verify()
            charges = [e.record for e in ledger.entries() if isinstance(e.record, Charge)]
            rounds = {(c.run, c.round, c.attempt) for c in charges}
            assert len(rounds) == len(charges) > 0
            assert ledger.spent(name, 1e-6).epsilon <= 3.0


def check_quality(federation: Deployed, tables: dict[str, pd.DataFrame], release: Release, folder: Path) -> None:
    """As good as in one process: of two runs each has noise of its own."""
    anybody = tuple(Institution(name=name) for name in federation.names)
    study = replace(load_study(federation.folder / "study.toml"), institutions=anybody)
    in_process = simulate(
        study, tables, folder / "release", seed=1, ledgers=Ledgers(folder / "ledgers", "people", None)
    )
    real, rng = pd.concat(tables.values()), np.random.default_rng(0)
    here, there, apart = (
        next(row[of] for row in compare(real, made, rng) if row["tables"] == "two columns")
        for made, of in ((in_process, "release"), (release, "release"), (release, "independent"))
    )
    federation.distances.update({"in one process": here, "as deployed": there, "independent columns": apart})
    assert there < here * 1.25 < apart


def figures(federation: Deployed) -> str:
    """As a table; and in a file."""
    whole = sum(federation.seconds.values())
    timed = {**federation.seconds, "from nothing to a verified release": whole}
    lines = [f"{what:>36} {seconds:8.1f} s" for what, seconds in timed.items()]
    lines += [f"{'2-way TVD ' + what:>36} {distance:8.3f}" for what, distance in federation.distances.items()]
    lines.append(f"{'users of their own':>36} {'yes' if federation.others else 'no':>8}")
    reported = {"seconds": federation.seconds, "whole": whole, "two_way_tvd": federation.distances}
    Path("e2e.json").write_text(json.dumps(reported, indent=1))
    return "\n".join(lines)
