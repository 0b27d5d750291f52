"""An institution whose ledger two of three persons may restore."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from enlisted import key_of
from institution_folder import made

from cohortium.data.columns import Boolean
from cohortium.data.schema import Schema
from cohortium.federation import wire
from cohortium.ledger.backup import back_up
from cohortium.ledger.receipt import Receipt
from cohortium.ledger.restoration import Restoration, RestoreRequest, signed
from cohortium.study import consent
from cohortium.study.generators import Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Institution as Named
from cohortium.study.study import Privacy, Study
from cohortium.system.keys import public_text
from cohortium_client.custodian.agreements import agree
from cohortium_client.custodian.institution import FILE, POLICY, Institution, load_institution, open_custodian
from cohortium_client.restoring import draft, restore

ANNE, BERT, CARL = (key_of(name) for name in ("anne", "bert", "carl"))
DELTA = 1e-6


class Place:
    """An institution whose restorers are Anne, Bert and Carl, and what a coordinator would ask it."""

    def __init__(self, folder: Path, **policy: Any) -> None:
        made(folder, **policy)
        file = load_toml(folder / FILE) | {"restorers": [public_text(k) for k in (ANNE, BERT, CARL)]}
        (folder / FILE).write_text(tomli_w.dumps(file))
        self.folder = folder
        self._runs = (f"{number:032x}" for number in itertools.count(1))

    @property
    def institution(self) -> Institution:
        return load_institution(self.folder)

    @property
    def path(self) -> Path:
        return self.folder / "ledger.sqlite"

    def policy(self, **rules: Any) -> None:
        (self.folder / POLICY).write_text(tomli_w.dumps(load_toml(self.folder / POLICY) | rules))

    def study(self, name: str = "first", serial: int = 1, epsilon: float = 1.0) -> Study:
        institution = Named(name="north", key=self.institution.identity.public)
        schema = Schema(name="two", columns=(Boolean(name="a"), Boolean(name="b")))
        return Study(
            name=name,
            schema=schema,
            privacy=Privacy(epsilon=epsilon, delta=DELTA),
            generator=Sweep(components=10),
            institutions=(institution,),
            serial=serial,
        )

    def sign(self, study: Study) -> Study:
        opened = self.institution
        with opened.ledger() as ledger:
            agree(study, opened.identity, opened.policy, ledger, opened.agreements)
        return study

    def request(self, study: Study, run: str, receipts: tuple[Receipt, ...] = ()) -> bytes:
        key = self.institution.identity.key
        consents = {"north": consent.sign(study, "north", key)}
        return wire.encode_request(wire.Request(study.digest, run, 0, 0, b"", consents, receipts))

    def ask(self, study: Study, run: str | None = None, receipts: tuple[Receipt, ...] = ()) -> bytes:
        """What a custodian, started for it, says."""
        custodian = open_custodian(self.folder)
        reported = custodian.answer(self.request(study, run or next(self._runs), receipts))
        custodian._ledger.close()
        return reported

    def answered(self, study: Study, run: str | None = None) -> Receipt:
        reported = wire.decode_answer(self.ask(study, run), plan(study).phase(0).query.width)
        assert isinstance(reported, wire.Answer), reported
        return reported.receipt

    def back_up(self, name: str = "backup.sqlite") -> Path:
        out = self.folder.parent / name
        with self.institution.ledger() as ledger:
            back_up(ledger, out)
        return out

    def lose(self) -> None:
        """The disk is gone, but for the witness."""
        for file in self.folder.glob("ledger.sqlite*"):
            if file.suffix != ".head":
                file.unlink()

    def spent(self, delta: float = DELTA) -> float:
        with self.institution.ledger() as ledger:
            return ledger.spent("patients", delta).epsilon

    def spent_if_all_collude(self, delta: float = DELTA) -> float:
        with self.institution.ledger() as ledger:
            return ledger.spent_if_all_collude("patients", delta).epsilon

    def draft(self, backup: Path, shown: Sequence[str] = (), **stated: float) -> RestoreRequest:
        reported = (stated.get("epsilon"), stated.get("bare"))
        request = draft(self.institution, backup, shown, reported)
        assert request is not None
        return request

    def restore(self, backup: Path, shown: Sequence[str] = (), **stated: float) -> Restoration:
        """As two persons do it."""
        done = by(self.draft(backup, shown, **stated), ANNE, BERT)
        restore(self.institution, backup, done)
        return done


def load_toml(path: Path) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(path.read_text())


def by(request: RestoreRequest, *keys: Ed25519PrivateKey) -> Restoration:
    done = Restoration(request, {})
    for key in keys:
        done = signed(done, key)
    return done
