"""A journal in a folder, from which an interrupted coordinator resumes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cohortium.errors import CohortiumError, FederationError
from cohortium.ledger.receipt import Receipt
from cohortium.study.consent import Signatures, read_signatures, write_signature
from cohortium.study.study import Study, dumps_schema, dumps_study, load_study
from cohortium.system import failpoints
from cohortium.system.canonical import canonical_json, digest
from cohortium.system.documents import load_json, parse_json
from cohortium.system.files import write_whole
from cohortium.system.locks import hold
from cohortium_server.rounds.journal import NOTHING, Aggregate, Begun, new_run, new_seed

FORMAT = "cohortium-run-1"
LOCK = "lock"
REMOVED = "sums-removed.json"  # how many there were
_DOCUMENT: dict[str, type] = {"format": str, "run": str, "study": str, "seed": int, "settings": dict}


class FolderJournal:
    """A run as a folder: ``run.json``, the study with its signatures, and two files a round; one more during a round.

    One process at a time may open it to write; others may read it (``alone=False``). Raises FederationError E_RUN.
    """

    def __init__(self, folder: Path, alone: bool = True) -> None:
        self.folder = folder
        document = self._document()
        self.run, self.seed, self.settings = document["run"], document["seed"], document["settings"]
        self.study = self._study(document["study"])
        self.consents: Signatures = read_signatures(folder / "study.toml", self.study)
        self._lock = self._locked() if alone else None

    @classmethod
    def begin(
        cls, runs: Path, study: Study, consents: Signatures, seed: int | None, settings: Mapping[str, Any]
    ) -> FolderJournal:
        """A new run, in a folder of its own in ``runs``. settings: what ``resume`` needs, as JSON."""
        run = new_run()
        folder = runs / run
        folder.mkdir(parents=True)
        write_whole(folder / "schema.toml", dumps_schema(study.schema).encode())
        write_whole(folder / "study.toml", dumps_study(study).encode())
        for name, signature in consents.items():
            write_signature(folder / "study.toml", study, name, signature)
        chosen = new_seed() if seed is None else seed
        document = {"format": FORMAT, "run": run, "study": study.digest, "seed": chosen, "settings": dict(settings)}
        write_whole(folder / "run.json", canonical_json(document))  # last: a folder without it is no run
        failpoints.passed("run begun")
        return cls(folder)

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _document(self) -> dict[str, Any]:
        document: Any = None
        try:
            document = load_json(self.folder / "run.json")
        except OSError:
            raise _no_run(self.folder, "there is no run in it", "Name the folder that the run printed.") from None
        except ValueError:
            pass
        if not isinstance(document, dict) or {k: type(v) for k, v in document.items()} != _DOCUMENT:
            raise _no_run(self.folder, "its run.json is not what was written", "Begin a new run.")
        if document["format"] != FORMAT or not re.fullmatch("[0-9a-f]{32}", document["run"]):
            raise _no_run(self.folder, "its run.json is not of this version", "Begin a new run.")
        return document

    def _study(self, digest: str) -> Study:
        try:
            study = load_study(self.folder / "study.toml")
        except CohortiumError as error:
            raise _no_run(self.folder, f"its study cannot be read ({error.code})", "Put the study back.") from None
        if study.digest != digest:
            raise _no_run(self.folder, "its study is not the one it was begun with", "Put the study back.")
        return study

    def _locked(self) -> int:
        lock = hold(self.folder / LOCK)
        if lock is None:
            raise _no_run(self.folder, "another coordinator has it open", "Let that one end.")
        return lock

    def aggregate(self, round_number: int) -> Aggregate | None:
        from safetensors import SafetensorError, safe_open

        path = self._sum(round_number)
        if (self.folder / REMOVED).exists():
            what = "its sums were removed some time after its release, as keep_sums in federation.toml says"
            raise _no_run(self.folder, what, "Its release stays as it is; for another begin a new run.")
        if not path.exists():
            return None
        try:
            with safe_open(str(path), "np") as file:
                fields = parse_json(file.metadata()["heard"].encode())
                receipts, void = _receipts(fields["receipts"]), tuple(_receipts(r) for r in fields.get("void", ()))
                aggregate = Aggregate(round_number, int(fields["attempt"]), file.get_tensor("sum"), receipts, void)
            if fields["digest"] == self._digest(aggregate):
                return aggregate
        except (SafetensorError, ValueError, KeyError, TypeError):
            pass
        raise _no_run(self.folder, f"{path.name} is not what was written", "Begin a new run.")

    def remember(self, aggregate: Aggregate) -> None:
        from safetensors.numpy import save

        fields = {"attempt": aggregate.attempt, **_receipts_document(aggregate), "digest": self._digest(aggregate)}
        write_whole(self._sum(aggregate.round), save({"sum": aggregate.values}, {"heard": json.dumps(fields)}))
        failpoints.passed("checkpoint written")
        self._done_with(aggregate.round)

    def _done_with(self, round_number: int) -> None:
        """Remove all files of a complete round but its sum."""
        self._under_way(round_number).unlink(missing_ok=True)
        self._asked(round_number).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove files of complete rounds that are not needed; earlier versions left them."""
        for path in self.folder.glob("[0-9]*.sum"):
            self._done_with(int(path.stem))
        if (self.folder / REMOVED).exists():
            self._remove_sums()

    def remove_sums(self) -> None:
        """Remove the sums: no release is made from them again. That is recorded first, so that the run is not asked again instead."""
        if self.rounds_done and not (self.folder / REMOVED).exists():
            write_whole(self.folder / REMOVED, canonical_json(self.rounds_done))
            failpoints.passed("sums given up")
            self._remove_sums()

    def _remove_sums(self) -> None:
        for path in self.folder.glob("[0-9]*.sum"):
            path.unlink(missing_ok=True)

    def _digest(self, aggregate: Aggregate) -> str:
        """A digest of everything in a checkpoint, to detect one that is damaged or belongs to another round."""
        values, fields = hashlib.sha256(aggregate.values.tobytes()).hexdigest(), _receipts_document(aggregate)
        return digest(
            [self.run, aggregate.round, aggregate.attempt, str(aggregate.values.dtype), values, *fields.values()]
        )

    def state(self, round_number: int) -> bytes | None:
        path = self._asked(round_number)
        return path.read_bytes() if path.exists() else None

    def remember_state(self, round_number: int, state: bytes) -> None:
        write_whole(self._asked(round_number), state)

    def begun(self, round_number: int) -> Begun | None:
        from safetensors import SafetensorError, safe_open

        path = self._under_way(round_number)
        if not path.exists():
            return self._begun_before(round_number)
        try:
            with safe_open(str(path), "np") as file:
                fields, board = parse_json(file.metadata()["begun"].encode()), file.get_tensor("board").tobytes()
                masked = file.get_tensor("masked") if "masked" in file.keys() else None  # noqa: SIM118 - it is no mapping
                void = tuple(_receipts(r) for r in fields["void"])
                begun = Begun(int(fields["attempt"]), board, masked, _receipts(fields["receipts"]), void)
            if fields["digest"] == self._digest_begun(round_number, begun):
                return begun
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
            pass
        raise _no_run(self.folder, f"{path.name} is not what was written", "Begin a new run.")

    def _begun_before(self, round_number: int) -> Begun | None:
        """A record of an older version: how many attempts it began. None of them can be continued."""
        path = self.folder / f"{round_number:04}.attempts"
        try:
            count = int(path.read_bytes()) if path.exists() else 0
        except ValueError:
            raise _no_run(self.folder, f"{path.name} is not what was written", "Begin a new run.") from None
        return Begun(count, NOTHING, void=((),) * count) if count else None

    def remember_begun(self, round_number: int, begun: Begun) -> None:
        from safetensors.numpy import save

        tensors: dict[str, Any] = {"board": np.frombuffer(begun.board, np.uint8)}
        if begun.masked is not None:
            tensors["masked"] = begun.masked
        void = [_documents(r) for r in begun.void]
        fields = {"attempt": begun.attempt, "receipts": _documents(begun.receipts), "void": void}
        fields["digest"] = self._digest_begun(round_number, begun)
        write_whole(self._under_way(round_number), save(tensors, {"begun": json.dumps(fields)}))

    def _digest_begun(self, round_number: int, begun: Begun) -> str:
        masked = (
            []
            if begun.masked is None
            else [str(begun.masked.dtype), hashlib.sha256(begun.masked.tobytes()).hexdigest()]
        )
        void = [_documents(r) for r in begun.void]
        board = hashlib.sha256(begun.board).hexdigest()
        return digest([self.run, round_number, begun.attempt, board, masked, _documents(begun.receipts), void])

    def _under_way(self, round_number: int) -> Path:
        return self.folder / f"{round_number:04}.begun"

    def _sum(self, round_number: int) -> Path:
        return self.folder / f"{round_number:04}.sum"

    def _asked(self, round_number: int) -> Path:
        return self.folder / f"{round_number:04}.asked"

    @property
    def is_released(self) -> bool:
        """Whether its own release is in the place that was ordered."""
        try:
            manifest = load_json(Path(self.settings["out"]) / "manifest.json")
        except (OSError, ValueError):
            return False
        return isinstance(manifest, dict) and manifest.get("run") == self.run

    @property
    def rounds_done(self) -> int:
        return rounds_done(self.folder)


def rounds_done(run: Path) -> int:
    """How many rounds of the run in a folder are complete, also where their sums were removed since."""
    if (run / REMOVED).exists():
        return int(load_json(run / REMOVED))
    return len(list(run.glob("*.sum")))


def _documents(receipts: tuple[Receipt, ...]) -> list[dict[str, Any]]:
    return [asdict(r) for r in receipts]


def _receipts(documents: list[dict[str, Any]]) -> tuple[Receipt, ...]:
    return tuple(Receipt(**r) for r in documents)


def _receipts_document(aggregate: Aggregate) -> dict[str, Any]:
    """The receipts in a checkpoint. Without void attempts it has no entry for them, as in earlier versions."""
    void = {"void": [_documents(r) for r in aggregate.void]} if aggregate.void else {}
    return {"receipts": _documents(aggregate.receipts), **void}


def _no_run(folder: Path, what: str, fix: str) -> FederationError:
    return FederationError("E_RUN", folder.name, what, fix)
