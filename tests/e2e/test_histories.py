"""Persons and their events from three institutions, in PostgreSQL, in SQLite and in CSV files, to one verified release of two tables.

TLS, node authentication, secure sum, processes of their own. The sections of the tables of events are written by hand, as
docs/sources.md says.
"""

# ruff: noqa: F401, F811 (fixtures are imported by name)

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import numpy as np
import pandas as pd
import pytest
from databases import database, postgresql
from deployed import FIGURES, Deployed, deployed
from postgres import OWNER, PASSWORDS, Cluster, password_file
from sqlalchemy import create_engine

from cohortium.data.events import PERSONS
from cohortium.data.schema import Schema
from cohortium.evaluation.histories import distances, independent
from cohortium.federation import wire
from cohortium.ledger.records import Charge
from cohortium.ledger.store import Ledger
from cohortium.study.plan import plan, ring
from cohortium.study.study import load_study
from cohortium_server.release import load_release
from cohortium_simulation.made_up import DEMOS, hospital

Tables = Mapping[str, pd.DataFrame]
DATA = Path(__file__).parents[2] / "simulation" / "cohortium_simulation" / "data"
NAMES = ("city", "county", "coast")  # PostgreSQL, SQLite, CSV
PEOPLE = 1200
EPSILON = 20.0  # so few persons, and a result that noise does not decide
STUDY = f"""
[study]
name = "stays-of-patients"
edition = 2
purpose = "share a test cohort for a bed planner"
serial = 1

[privacy]
epsilon = {EPSILON}
delta = 1e-6
trust = "secure-sum"

[generator]
kind = "histories"

[release]
rows = {PEOPLE}
"""
SELECT = {PERSONS: "SELECT patient, age, sex FROM patients", "stays": "SELECT patient, day, reason, nights FROM stays"}


def parts(whole: Tables) -> dict[str, Tables]:
    """Whole persons to each institution."""
    return {
        name: {of: table[table["patient"] % len(NAMES) == place] for of, table in whole.items()}
        for place, name in enumerate(NAMES)
    }


def in_postgresql(cluster: Cluster, held: Tables) -> list[str]:
    address = cluster.url(OWNER).replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(address, connect_args={"password": PASSWORDS[OWNER]})
    cluster.execute("DROP TABLE IF EXISTS patients", "DROP TABLE IF EXISTS stays")
    held[PERSONS].to_sql("patients", engine, index=False)
    held["stays"].to_sql("stays", engine, index=False)
    engine.dispose()
    return ["--url", cluster.url(), "--query", SELECT[PERSONS]]


def section(**keys: str) -> str:
    return "\n[source.tables.stays]\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items())


def tell_of_events(federation: Deployed, name: str, words: str) -> None:
    """Add a section to institution.toml, as an engineer would, and leave everything to the custodian's user."""
    site = federation.site(name)
    file = site / "institution.toml"
    file.write_text(file.read_text() + words + '\n[ledger]\nkeep_answers = "for-ever"\n')  # they are looked at
    federation.give(site, federation.owner(name))


def put_into_postgresql(federation: Deployed, cluster: Cluster, name: str) -> None:
    site = federation.site(name)
    file, secret = site / "institution.toml", password_file(site)
    file.write_text(re.sub(r"(?m)^url = (.*)$", rf'url = \1\npassword_file = "{secret}"', file.read_text()))
    if federation.others:
        cluster.folder.chmod(0o711)  # its socket lies there
    tell_of_events(federation, name, section(url=cluster.url(), query=SELECT["stays"], password_file=secret))


def put_into_sqlite(federation: Deployed, name: str, held: Tables) -> None:
    with closing(connect(federation.site(name) / "clinic.sqlite")) as database:
        held[PERSONS].to_sql("patients", database, index=False)
        held["stays"].assign(day=held["stays"]["day"].dt.strftime("%Y-%m-%d")).to_sql("stays", database, index=False)
    tell_of_events(federation, name, section(url="sqlite:///clinic.sqlite", query=SELECT["stays"]))


def put_into_files(federation: Deployed, name: str, held: Tables) -> None:
    held["stays"].to_csv(federation.site(name) / "stays.csv", index=False)
    tell_of_events(federation, name, section(path="stays.csv"))


@pytest.mark.timeout(600)
def test_persons_and_their_events_from_three_kinds_of_sources_to_a_verified_release(
    database: Cluster | None, record_property: Callable[[str, object], None]
) -> None:
    whole = hospital(PEOPLE, np.random.default_rng(2026))
    held = parts(whole)
    city, county, coast = NAMES
    places: dict[str, pd.DataFrame | list[str]] = {
        city: held[city][PERSONS] if database is None else in_postgresql(database, held[city]),
        county: ["--url", "sqlite:///clinic.sqlite", "--query", SELECT[PERSONS]],
        coast: held[coast][PERSONS],
    }
    with deployed((DATA / "hospital.toml").read_text(), places, cap=2 * EPSILON) as federation:
        if database is None:
            put_into_files(federation, city, held[city])
        else:
            put_into_postgresql(federation, database, city)
        put_into_sqlite(federation, county, held[county])
        put_into_files(federation, coast, held[coast])
        study = federation.agree(STUDY)
        for name in NAMES:
            check_tables(federation, name, study, held[name])
        federation.serve()
        result = federation.run(study, federation.folder / "out" / "release")
        with federation.timed("verify"):
            said = federation.say("verify", result["release"])
        assert "what was signed" in said and "Federation: every institution's own custodian" in said
        check_messages(federation, study)
        check_tables_released(Path(result["release"]), whole, federation)
        record_property(
            FIGURES, "\n".join(f"{w:>36} {s:8.2f}" for w, s in (federation.seconds | federation.distances).items())
        )


def check_tables(federation: Deployed, name: str, study: Path, held: Tables) -> None:
    """The custodian's own user reads both tables and sees how many rows of each count."""
    words = ("institution", "check", federation.site(name), "--study", study)
    said = federation.say(*words, uid=federation.owner(name))
    for table in held.values():
        assert re.search(rf"\b{len(table):,}\b", said), said


def check_messages(federation: Deployed, study: Path) -> None:
    """What left each institution: of each round one vector of the width and the numbers that follow from the study, charged before."""
    agreed, signed = plan(load_study(study)), load_study(study)
    for name in NAMES:
        with Ledger(federation.site(name) / "ledger.sqlite") as ledger:
            ledger.verify()
            charges = [e for e in ledger.entries() if isinstance(e.record, Charge)]
            assert len(charges) == agreed.rounds
            for entry in charges:
                assert isinstance(entry.record, Charge)
                phase = agreed.phase(entry.record.round)
                kind = ring(signed, phase).dtype
                reply = wire.decode_reply(ledger.message(entry), phase.query.width, kind)
                assert reply.values.shape == (phase.query.width,)
            assert ledger.spent(name, 1e-6).epsilon <= EPSILON


def check_tables_released(folder: Path, whole: Tables, federation: Deployed) -> None:
    """Keys fit, and events follow on each other as in what all institutions hold, nearer than if they were shuffled."""
    release = load_release(folder)
    made, schema = release.tables, release.schema
    assert list(made) == [PERSONS, "stays"] and len(made[PERSONS]) == PEOPLE
    assert made[PERSONS]["patient"].is_unique
    assert set(made["stays"]["patient"]) <= set(made[PERSONS]["patient"])
    assert abs(len(made["stays"]) / len(whole["stays"]) - 1) < 0.1
    near, far = (
        by_what(schema, whole, other) for other in (made, independent(schema, whole, np.random.default_rng(0)))
    )
    follows = "reason from one event to the next"
    federation.distances.update({"as deployed": near[follows], "independent events": far[follows]})
    assert near[follows] < 0.7 * far[follows]
    assert max(near["events of a person"], near["time between events"], near["reason"], near["nights"]) < 0.12, near


def by_what(schema: Schema, real: Tables, made: Tables) -> dict[str, float]:
    return {row["what"]: row["distance"] for row in distances(schema, real, made)}
