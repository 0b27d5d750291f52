"""A whole federation in one process: the deployment's own apps and custodians, on local tables."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from dataclasses import replace as changed
from functools import cached_property
from pathlib import Path
from typing import Any

from cohortium.data.encoding import Codes
from cohortium.data.readers.frames import Table
from cohortium.data.schema import Schema
from cohortium.errors import FederationError, StudyError
from cohortium.ledger.caps import Cap
from cohortium.ledger.location import home, witness_of
from cohortium.ledger.records import Consent
from cohortium.ledger.shelf import FILE as SHELF
from cohortium.ledger.shelf import Shelf, ShelvedLedger
from cohortium.ledger.store import Ledger
from cohortium.study import consent
from cohortium.study.study import EDITION, Study, as_written, study_from_document
from cohortium.system.arguments import described, refused
from cohortium.system.arguments import path as as_path
from cohortium.system.filenames import unfit
from cohortium.system.keys import load_or_create_key
from cohortium.system.progress import Progress
from cohortium_client.custodian.custodian import Custodian, Holding, Identity, consents_to
from cohortium_client.custodian.policy import Policy
from cohortium_client.custodian.sessions import Sessions
from cohortium_server.release import Release, load_release, require_no_release, write_release
from cohortium_server.rounds.journal import BriefJournal
from cohortium_server.rounds.rounds import Outcome
from cohortium_simulation.draining import Drain
from cohortium_simulation.holdings import Held, as_held, encoded, persons_of
from cohortium_simulation.pooled import MASKED_UP_TO, PooledCustodian, run_pooled


@dataclass(frozen=True)
class Ledgers:
    """Where the simulated institutions' ledgers lie, and whose privacy is spent.

    population: stays the same for the same people, whatever the table is called or however it is split; by default
    the schema's name. cap: the most the population may ever spend; None for no cap.

    >>> import cohortium
    >>> from cohortium.ledger.caps import Cap
    >>> cohortium.Ledgers(population="the town", cap=Cap(epsilon=8.0, delta=1e-6)).cap.epsilon
    8.0
    """

    folder: Path = field(default_factory=lambda: home() / "ledgers")
    population: str | None = None
    cap: Cap | None = None


def simulate(
    study: Study,
    tables: Mapping[str, Table | Mapping[str, Table]],
    out: str | Path = "release",
    *,
    seed: int | None = None,
    ledgers: Ledgers | None = None,
    progress: Progress | None = None,
    learn: bool = False,
    replace: bool = False,
    codes: Mapping[str, Codes] | None = None,
) -> Release:
    """Run ``study`` on one table per institution, DataFrames of any library or paths, and write the release into the folder ``out``.

    tables: by the names of the study's institutions, of whom each has one; where the schema has tables of events, each has a
    mapping of all of them, ``{"north": {"persons": table, "labs": another}, ...}``. Epsilon and delta are the study's, per person over
    everything that leaves. Each institution charges its own ledger, as in a real federation. seed: repeats initialisation and
    sampling; noise is never repeated. learn: store the error model for questions about several columns in the release, which
    takes the time of two more fits; otherwise it is estimated on first use. replace: overwrite a release in ``out``, which is
    otherwise refused with E_RELEASE_EXISTS before anything is charged. codes: the encoded tables (``encode_all``), if they
    exist already.

    More than ``MASKED_UP_TO`` institutions make no masks: they are one process, in which the sum hides as much (pooled.py).

    Raises the errors of the study, the institutions and the release gate; SchemaError E_REVIEW where the study's
    schema is a draft (``draft.draft``) with marks left: ``study.schema.reviewed()`` has none.

    A study without privacy (``Privacy(mode="none")``) asks no institution and charges nothing: its generator is fitted to the
    tables as they are, and every file in ``out`` is marked accordingly (unprotected.py).

    >>> import cohortium
    >>> from cohortium.study.generators import Sweep
    >>> from cohortium.study.study import Institution, Privacy
    >>> visits = {"age": [30, 41, 56, 62] * 250, "result": ["positive", "negative"] * 500}
    >>> study = cohortium.Study(
    ...     name="two clinics",
    ...     schema=cohortium.draft_schema(visits, targets="result").schema.reviewed(),  # after a look at all of it
    ...     privacy=Privacy(epsilon=3.0, delta=1e-6, trust="local"),
    ...     generator=Sweep(),
    ...     institutions=(Institution(name="north"), Institution(name="south")),
    ... )
    >>> release = cohortium.simulate(study, {"north": visits, "south": visits}, "simulated", seed=1)
    >>> release.kind, release.study.institution_names
    ('simulation', ('north', 'south'))
    >>> cohortium.simulate(study, {"north": visits}, "another")
    Traceback (most recent call last):
    ...
    cohortium.errors.FederationError: E_MISSING_INSTITUTION: tables: none for south. Pass a table for each institution.
    """
    _require_study(study)
    out = as_path("out", out)
    require_no_release(out, replace)
    read = as_tables(tables, study.schema)
    if study.privacy.mode == "none":
        return _simulate_unprotected(study, read, out, seed, ledgers, progress, codes)
    outcome = run(study, read, ledgers or Ledgers(), seed, progress, codes)
    return load_release(write_release(outcome, out, seed, learn, replace))


def _require_study(study: object) -> None:
    if not isinstance(study, Study):
        fix = "Pass what cohortium.load_study gives, or fit a table with cohortium.fit."
        raise refused("study", f"it is {described(study)}, not a cohortium.Study", fix)


def as_tables(tables: Mapping[str, Table | Mapping[str, Table]], schema: Schema) -> dict[str, Held]:
    """A DataFrame for each institution, or one for each of the schema's tables; of files their columns and no others are read."""
    if not isinstance(tables, Mapping):
        what = f"it is {described(tables)}, not tables by institution"
        raise refused("tables", what, 'Pass {"north": table, "south": another}.')
    return {name: as_held(table, name, schema) for name, table in tables.items()}


def _simulate_unprotected(
    study: Study,
    tables: Mapping[str, Held],
    out: Path,
    seed: int | None,
    ledgers: Ledgers | None,
    progress: Progress | None,
    codes: Mapping[str, Codes] | None,
) -> Release:
    from cohortium_server.release.unprotected import require_free_of_releases, write_unprotected
    from cohortium_simulation.unprotected import fit_unprotected

    if ledgers is not None:
        raise StudyError(
            "E_PLAN_PRIVACY", "ledgers", "without privacy nothing is charged, and no cap holds", "Leave them out."
        )
    study.schema.require_reviewed()
    _check_complete(study, tables)
    require_free_of_releases(out)
    study = as_written(study)
    outcome = fit_unprotected(study, codes or encode_all(study, tables), seed, progress)
    return load_release(write_unprotected(outcome, out, seed), not_private=True)


def run(
    study: Study,
    tables: Mapping[str, Held],
    ledgers: Ledgers,
    seed: int | None = None,
    progress: Progress | None = None,
    codes: Mapping[str, Codes] | None = None,
) -> Outcome:
    """The rounds of ``study`` in this process, without a release. codes: the tables' (``encode_all``), if they are there already."""
    from cohortium.neural.device import one_thread

    consent.require_signable(study)
    _check_complete(study, tables)
    _check_persons(study, tables)
    require_file_names(study)
    with ExitStack() as stack:
        opened = Opened(study.institution_names, ledgers.folder, stack)
        population = ledgers.population or study.schema.name
        made = (Simulated(n, ledger, population, ledgers.cap) for n, ledger in opened.ledgers.items())
        institutions = [stack.enter_context(closing(one)) for one in made]
        signed, consents = sign_all(study, [i.identity for i in institutions])
        kind = PooledCustodian if opened.many else Custodian
        held = dict(codes or encode_all(study, tables))
        custodians = {i.name: i.custodian(signed, held.pop(i.name), kind) for i in institutions}
        for custodian in custodians.values():  # all or none: a study that cannot be finished is not begun
            custodian.afford(signed)
        with opened.together():
            for institution in institutions:
                institution.agree(signed)
        with one_thread():  # institutions answer side by side, each in a thread of its own
            outcome = _run(signed, consents, custodians, opened.shelf, seed, progress)
        for ledger in opened.ledgers.values():  # this process was all that could have asked again
            ledger.drop({outcome.run})
            ledger.shrink()
        return outcome


def _run(
    study: Study,
    consents: consent.Signatures,
    custodians: Mapping[str, Custodian],
    shelf: Shelf | None,
    seed: int | None,
    progress: Progress | None,
) -> Outcome:
    """The deployment's own protocol over its own Flower apps where institutions are few, else their sums alone."""
    pooled = [c for c in custodians.values() if isinstance(c, PooledCustodian)]
    if shelf is not None and len(pooled) == len(custodians):
        return run_pooled(study, consents, pooled, shelf, seed, progress)
    from cohortium_simulation.engine import run_in_process

    with Drain() as drain:  # finished before what custodians use is closed
        nodes = {name: drain.before(custodian) for name, custodian in custodians.items()}
        return run_in_process(study, consents, nodes, BriefJournal(seed), progress)


def encode_all(study: Study, tables: Mapping[str, Held]) -> dict[str, Codes]:
    """Every institution's table in codes of the study's schema."""
    schema = as_written(study).schema
    return {name: encoded(tables[name], name, schema) for name in study.institution_names}


class Opened:
    """The ledgers of simulated institutions, by name, until ``stack`` ends: existing files, or entries of a shelf.

    An institution's ledger never moves: later simulations in the same folder, of few or many institutions, add to what was
    spent. many: there are more institutions than run the deployment's own protocol.
    """

    def __init__(self, names: Sequence[str], folder: Path, stack: ExitStack) -> None:
        self.many = len(names) > MASKED_UP_TO
        self.shelf = self._shelf(folder, stack)
        shelved = self._shelved(names, folder)
        self.ledgers = {n: shelved.get(n) or stack.enter_context(Ledger(folder / f"{n}.sqlite")) for n in names}

    def _shelf(self, folder: Path, stack: ExitStack) -> Shelf | None:
        path = folder / SHELF
        there = path.exists() or witness_of(path).exists()
        return stack.enter_context(Shelf(path)) if self.many or there else None

    def _shelved(self, names: Sequence[str], folder: Path) -> Mapping[str, Ledger]:
        if self.shelf is None:
            return {}
        files = {p.name for p in folder.iterdir()}
        new = [n for n in names if self.many and not {f"{n}.sqlite", f"{n}.sqlite.head"} & files]
        self.shelf.enrol(new)
        found = {n: self.shelf.ledger(n) for n in names if n in self.shelf}
        for ledger in found.values():
            ledger.remembering = not self.many  # lost messages are asked for again
        return found

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside to the shelf is durable at the end."""
        if self.shelf is None:
            yield
        else:
            with self.shelf.together():
                yield


@dataclass(frozen=True)
class Simulated:
    """A simulated institution: it signs every study. Its key lies beside its ledger."""

    name: str
    ledger: Ledger
    population: str
    cap: Cap | None = None

    @cached_property
    def identity(self) -> Identity:
        if isinstance(self.ledger, ShelvedLedger):
            return Identity(self.name, self.ledger.key)
        return Identity(self.name, load_or_create_key(self.ledger.path.with_suffix(".key")))

    @cached_property
    def sessions(self) -> Sessions:
        shelved = isinstance(self.ledger, ShelvedLedger)
        path = (
            self.ledger.path.with_name(f"{self.name}.sessions")
            if shelved
            else self.ledger.path.with_suffix(".sessions")
        )
        return Sessions(path, most=sys.maxsize)  # nobody else asks here

    def close(self) -> None:
        """Close what its custodians opened: some systems cannot move or remove open files."""
        if "sessions" in vars(self):
            self.sessions.close()

    def agree(self, study: Study) -> None:
        """Record the consent in the ledger, unless it is there."""
        if not consents_to(self.ledger, study):
            self.ledger.record(Consent(study.digest, study.name, study.serial))

    def custodian(self, study: Study, codes: Codes, kind: type[Custodian] = Custodian) -> Custodian:
        """Its custodian for a study that was signed, over a table that is there already. kind: ``PooledCustodian`` makes no masks."""
        policy = Policy(repeatable=True)
        if self.cap is not None:
            policy = changed(policy, epsilon_per_population=self.cap.epsilon, delta=self.cap.delta)
        sessions = None if issubclass(kind, PooledCustodian) else self.sessions
        holding = Holding(self.population, lambda _: codes, self.ledger, sessions)
        return kind(self.identity, {study.digest: study}, holding, policy, simulated=True)


def sign_all(study: Study, identities: Sequence[Identity]) -> tuple[Study, dict[str, str]]:
    """The study as it is written, with the keys of simulated institutions in it, and the signatures of all of them.

    The signed study is marked as simulated, so it cannot pass for a federation's.
    """
    keys = {identity.name: identity.public for identity in identities}
    known = tuple(changed(i, key=keys[i.name]) for i in study.institutions)
    signed = as_written(changed(study, institutions=known, simulated=True))
    return signed, {i.name: consent.sign(signed, i.name, i.key) for i in identities}


def _check_complete(study: Study, tables: Mapping[str, Held]) -> None:
    absent = [name for name in study.institution_names if name not in tables]
    if absent:
        raise FederationError(
            "E_MISSING_INSTITUTION", "tables", f"none for {', '.join(absent)}", "Pass a table for each institution."
        )


def require_file_names(study: Study) -> None:
    """StudyError E_PLAN_INVALID where two institutions' ledgers would be one file on some system, or none."""
    if problem := unfit(study.institution_names):
        raise StudyError("E_PLAN_INVALID", "institutions", problem, "Give it another name: its ledger is a file.")


def _check_persons(study: Study, tables: Mapping[str, Held]) -> None:
    """StudyError E_PLAN_PRIVACY if a person is in more than g institutions: a simulation can check that, a coordinator cannot."""
    if study.schema.person is None:
        return
    seen = Counter(who for name in study.institution_names for who in persons_of(tables[name], name, study.schema))
    if max(seen.values(), default=0) > study.privacy.institutions_per_person:
        raise StudyError(
            "E_PLAN_PRIVACY",
            "privacy.institutions_per_person",
            "some persons are in more institutions than that, and the promise would not cover them",
            "Raise it (--institutions-per-person).",
        )


def as_study(
    schema: Schema,
    institutions: Sequence[str],
    privacy: Mapping[str, Any],
    generator: Mapping[str, Any],
    rows: int | None = None,
    name: str = "simulation",
    purpose: str = "",
) -> Study:
    """A study from plain values, validated as one from a file would be."""
    document = {
        "study": {"name": name, "purpose": purpose, "edition": EDITION},
        "privacy": dict(privacy),
        "generator": dict(generator),
        "release": {} if rows is None else {"rows": rows},
        "institution": [{"name": n} for n in institutions],
    }
    return study_from_document(document, schema)
