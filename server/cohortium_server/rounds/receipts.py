"""The latest receipts of every institution, presented with each request so that a rolled-back ledger is noticed."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from pathlib import Path

from cohortium.errors import FederationError
from cohortium.ledger.receipt import Receipt
from cohortium.study.study import Study
from cohortium.system.canonical import canonical_json
from cohortium.system.documents import load_json
from cohortium.system.locks import alone_in


class Receipts:
    """The last receipts of every institution, by its key: what shows a ledger that was rolled back its own heads.

    Heads have no order that others can see, and a run that is resumed may bring one that is older than what is known.
    So a few are kept of each, in the order they came. A safeguard, and written as one: whole, but not made durable.
    """

    KEPT = 3

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, study: Study) -> tuple[Receipt, ...]:
        return tuple(receipt for i in study.institutions for receipt in self._read(i.key))

    def remember(self, study: Study, receipts: tuple[Receipt, ...]) -> None:
        keys = {i.name: i.key for i in study.institutions}
        self._folder.mkdir(parents=True, exist_ok=True)
        with alone_in(self._folder):  # runs side by side keep each other's
            for receipt in receipts:
                known = self._read(keys[receipt.institution])
                if receipt not in known:
                    self._write(keys[receipt.institution], [*known, receipt][-self.KEPT :])

    def _path(self, key: str) -> Path:
        return self._folder / f"{key.rpartition(':')[2]}.json"

    def _write(self, key: str, receipts: list[Receipt]) -> None:
        aside = self._folder / f".{secrets.token_hex(8)}"
        aside.write_bytes(canonical_json([asdict(r) for r in receipts]))
        aside.replace(self._path(key))

    def _read(self, key: str) -> list[Receipt]:
        path = self._path(key)
        if not path.is_file():
            return []
        try:
            return [Receipt(**r) for r in load_json(path)]
        except (ValueError, TypeError):
            raise FederationError(
                "E_RUN", path.name, "this receipt is not what was written", "Remove the file; it is only a safeguard."
            ) from None
