"""Step 10: a release is a folder: synthetic tables, the model, the study, the account, a report and a signed manifest."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from dataclasses import replace as changed
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.conditions.parsing import Where, selected
from cohortium.data.encoding import codes_at, table_at
from cohortium.data.readers.frames import Table, as_table
from cohortium.data.schema import Schema
from cohortium.errors import ReleaseError
from cohortium.ledger.location import home
from cohortium.ledger.receipt import Receipt
from cohortium.privacy.accounting import RELATION
from cohortium.study.consent import require_signable
from cohortium.study.guarantee import guarantees
from cohortium.study.study import Study, dumps_schema, dumps_study, load_study
from cohortium.study.wording import UNMASKED
from cohortium.study.wording import Kind as RunKind
from cohortium.system import failpoints
from cohortium.system.arguments import described, number, refused, whole
from cohortium.system.arguments import path as as_path
from cohortium.system.canonical import canonical_json
from cohortium.system.documents import load_json
from cohortium.system.keys import load_or_create_key
from cohortium.system.progress import Progress, Silent
from cohortium.system.versions import version_of
from cohortium_server.gate import Verdict, judge
from cohortium_server.generators import Generator, Measured, Tensors, generator_class
from cohortium_server.release.answers import Answer, Answers, Kind
from cohortium_server.release.answers.stored import FILE as ANSWERS
from cohortium_server.release.balance import Balance, balanced_table, read_balance
from cohortium_server.release.blanks import Undeclared, imputed
from cohortium_server.release.carried import Carried, carried
from cohortium_server.release.evidence import check_evidence, check_kind
from cohortium_server.release.manifest import FORMS, MANIFEST, MARK, UNPROTECTED, kind_of, verify, write_manifest
from cohortium_server.release.page.evidence import Evidence
from cohortium_server.release.pages import Report, release_page
from cohortium_server.release.rows import drawn_indices, drawn_table
from cohortium_server.release.tables import read_released, write_table
from cohortium_server.rounds.rounds import Answered, Outcome

NOTICE = "Differentially private is not the same as anonymous by law: have the guarantee judged for your purpose."


@dataclass(frozen=True, repr=False)
class Release:
    """A released model and its tables. ``sample`` costs nothing: it only post-processes what was released.

    >>> import cohortium
    >>> release = cohortium.load_release("release")
    >>> release.kind, len(release.synthetic) == release.manifest["rows"]
    ('simulation', True)
    """

    path: Path
    study: Study
    manifest: Mapping[str, Any]
    progress: Progress = field(default_factory=Silent, compare=False)

    @property
    def schema(self) -> Schema:
        return self.study.schema

    @property
    def kind(self) -> RunKind | None:
        """federation, simulation or not-private: what ran the study. None in releases from before that was recorded."""
        return kind_of(self.manifest)

    @property
    def carries(self) -> Carried | None:
        """Which classes of a target and which pairs of columns it carries. None in releases from before that was told."""
        told = self.manifest.get("carries")
        return None if told is None else Carried.read(told)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and users' process pools carry: where it lies and what it says, and nothing that was loaded from it."""
        return {"path": self.path, "study": self.study, "manifest": self.manifest, "progress": Silent()}

    def __repr__(self) -> str:
        m, kind = self.manifest, self.kind or "of a kind that was not recorded"
        cost = f"epsilon {m['guarantee']['epsilon']:.4f}" if "guarantee" in m else "no privacy"
        return (
            f"<Release {str(self.path)!r}: {kind}, {m['rows']} rows by {m['generator']}, "
            f"{len(m['institutions'])} institutions, {cost}>"
        )

    @property
    def mark(self) -> str:
        """What the names of its files begin with: nothing, unless it was made without privacy."""
        return MARK if self.manifest["format"] == UNPROTECTED else ""

    @property
    def synthetic(self) -> pd.DataFrame:
        """The released synthetic table."""
        return read_released(self.path / f"{self.mark}synthetic.parquet")

    @cached_property
    def generator(self) -> Generator:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(self.path / f"{self.mark}model.safetensors")
        except SafetensorError:
            raise ReleaseError(
                "E_RELEASE_TOUCHED", "model.safetensors", "it is not in safetensors format", "Get the release again."
            ) from None
        kind = generator_class(self.study.generator.kind)
        return kind.from_tensors(self.study, tensors, self.progress)

    def sample(
        self, rows: int, where: Where | None = None, seed: int | None = None, balance: Balance | None = None
    ) -> pd.DataFrame:
        """Exactly ``rows`` new synthetic rows; under ``where`` each row keeps to the values it names.

        where: column to what it may be, a value, None for missing, ``between(40, 60)``, ``other_than("x")`` or a list of
        these, or the texts of the command line (``cohortium.data.conditions.parsing``). balance: a column whose values, but for the
        missing one, get equal shares, or ``{"result": {"positive": 0.3, "negative": 0.7}}``; such a sample is not the
        population's, and its ``attrs["balance"]`` says so. seed: makes the draw repeatable; privacy does not depend on it.
        Raises ReleaseError E_CONDITION, and InputError E_ARGUMENT for what is no number of rows or no seed.

        >>> import cohortium
        >>> release = cohortium.load_release("release")
        >>> table = release.sample(10, {"result": "positive", "age": cohortium.between(40, 60)}, seed=7)
        >>> len(table), set(table["result"]), bool(table["age"].between(40, 60).all())
        (10, {'positive'}, True)
        """
        rows, rng = whole("rows", rows), np.random.default_rng(None if seed is None else whole("seed", seed))
        chosen = selected(self.schema, {} if where is None else where)
        if balance is None:
            return drawn_table(self.generator, self.schema, rows, rng, chosen)
        balanced = read_balance(self.schema, balance, chosen)
        return balanced_table(self.generator, self.schema, rows, rng, chosen, balanced)

    @cached_property
    def answers(self) -> Answers:
        """What questions are answered from: the noised tables, and what is known of the model's errors."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self.path / ANSWERS
        if not path.is_file():
            what = "it was made without noise, or before answers with errors"
            raise ReleaseError("E_ANSWER", self.path.name, what, "Draw a sample and count in it.")
        try:
            tensors = load_file(path)
        except SafetensorError:
            raise ReleaseError(
                "E_RELEASE_TOUCHED", ANSWERS, "it is not in safetensors format", "Get the release again."
            ) from None
        return Answers.read(self.schema, self.generator, tensors, lambda: self.synthetic, self.progress)

    def query(
        self, where: Where | None = None, of: str | None = None, kind: Kind | None = None, level: float = 0.95
    ) -> Answer:
        """A count, share or mean of the real table, and an interval that holds it with a chance of about ``level``.

        where: conditions as in ``sample``. of: the column of a mean. kind: "count" (where no column is named), "share" of
        all rows, or "mean" of the column's known values. At most three columns in all. It costs nothing: the
        noised tables were released. Rows are those that the study counts, of a person at most so many. Raises ReleaseError
        E_CONDITION, and E_ANSWER where there is no answer (docs/answers.md).


        >>> import cohortium
        >>> answer = cohortium.load_release("release").query({"result": "positive"})
        >>> answer.low <= answer.estimate <= answer.high
        True
        """
        if kind is not None and not isinstance(kind, str):
            raise refused("kind", f"it is {described(kind)}, not a text", "Pass count, share or mean.")
        return self.answers.answer({} if where is None else where, of, kind, number("level", level))

    def impute(self, table: Table, seed: int | None = None, undeclared: Undeclared = "keep") -> pd.DataFrame:
        """``table`` with every blank filled in, each row's from what the model knows of rows with its other values.

        table: a DataFrame of any library, a path, or columns by name: any columns in any order; those of the schema that are
        not there come last, filled throughout. Values that are there stay as they are, with their dtype and spelling, and
        columns that the schema has not, the person's for one, stay. undeclared: what becomes of a cell that holds no value
        of the schema: ``keep`` lets it stand, ``blank`` fills it in, ``refuse`` raises InputError E_UNDECLARED. The result's
        ``attrs["imputed"]`` counts all of it by column. It costs nothing: the model was released.

        >>> import cohortium
        >>> release = cohortium.load_release("release")
        >>> release.impute({"age": [70, 20], "result": ["positive", None]}, seed=7)["result"].notna().all().item()
        True
        """
        rng = np.random.default_rng(None if seed is None else whole("seed", seed))
        return imputed(self.generator, self.schema, as_table(table), rng, undeclared)

    def report(self) -> Report:
        """The report on it: a notebook shows it, ``str`` of it is the path of its file, ``.show()`` opens a browser."""
        return Report(self.path / f"{self.mark}report.html")

    def _repr_html_(self) -> str:
        return release_page(self)


def load_release(path: str | Path, not_private: bool = False, progress: Progress | None = None) -> Release:
    """The release in a folder, verified first: every file is what was signed.

    not_private: also one that was made without privacy; otherwise that is NotPrivateError E_NOT_PRIVATE. Raises ReleaseError
    E_RELEASE_NOT_FOUND where there is none, E_RELEASE_TOUCHED naming the file that is not what was signed.

    >>> import cohortium
    >>> cohortium.load_release("release").study.name
    'visits'
    """
    folder = as_path("path", path)
    manifest = verify(folder, not_private=not_private)
    study = load_study(folder / "study.toml")
    if manifest["format"] != UNPROTECTED:
        check_kind(manifest, study)
        check_evidence(folder, study)
    elif study.privacy.mode != "none":
        raise ReleaseError("E_RELEASE_TOUCHED", "study.toml", "it promises privacy", "Ask who made it.")
    return Release(folder, study, manifest, progress or Silent())


def write_release(
    outcome: Outcome, out: Path, seed: int | None = None, learn: bool = False, replace: bool = False
) -> Path:
    """Draw, judge and write a release into the folder ``out``, whole or not at all.

    learn: with what two more fits tell of the model's errors, so that whoever asks the release need not wait for it.
    Raises ReleaseError E_GATE if the gate refuses, E_RELEASE_EXISTS if ``out`` holds anything but a release of
    the same run, or with ``replace`` any release: what came there meanwhile stays, and the new one lies beside it;
    NotPrivateError E_NOT_PRIVATE for what was made without privacy, which is no release (unprotected.py); SchemaError
    E_REVIEW for a study whose schema is a draft with marks left.
    """
    from safetensors.numpy import save_file

    require_signable(outcome.study)
    rng = np.random.default_rng(seed)
    rows = outcome.study.release.rows or outcome.generator.rows
    index = drawn_indices(outcome.generator, outcome.study.schema, rows, rng)
    synthetic = codes_at(index, outcome.study.schema)
    verdict = judge(outcome, synthetic)
    verdict.require()
    table = table_at(index, outcome.study.schema)
    # alone: nobody waits for what the model adds
    answers = Answers.of(outcome.study, outcome.generator, alone=True, released=lambda: table)
    kept = _carried(outcome, synthetic)
    with new_folder(out, replace or _is_of(out, outcome.run)) as folder:
        for name in ("synthetic.parquet", "synthetic.csv"):
            write_table(table, folder / name)
        write_model(folder, outcome)
        save_file(_answering(outcome, learn), folder / ANSWERS)
        (folder / "study.toml").write_text(dumps_study(outcome.study), encoding="utf-8", newline="\n")
        (folder / "schema.toml").write_text(dumps_schema(outcome.study.schema), encoding="utf-8", newline="\n")
        (folder / "ledger.json").write_text(json.dumps(account(outcome), indent=1), encoding="utf-8", newline="\n")
        (folder / "report.html").write_text(
            _report(outcome, synthetic, verdict, answers, kept), encoding="utf-8", newline="\n"
        )
        for path in folder.iterdir():
            path.chmod(0o644)  # a release is for everybody
        failpoints.passed("release written")
        signer = load_or_create_key(home() / FORMS[outcome.kind].key)
        write_manifest(folder, _statement(outcome, rows, verdict, kept), signer, outcome.kind)
        failpoints.passed("manifest signed")
    failpoints.passed("release published")
    return out


def _answering(outcome: Outcome, learn: bool) -> Tensors:
    """What questions are answered from. Where the errors' law cannot be found the release, which was paid for, goes without."""
    progress = getattr(outcome.generator, "progress", None) or Silent()
    answers = changed(Answers.of(outcome.study, outcome.generator), progress=progress)
    try:
        return answers.tensors(learn)
    except np.linalg.LinAlgError:
        return answers.tensors()


def require_no_release(out: Path, replace: bool = False, run: str | None = None) -> None:
    """ReleaseError E_RELEASE_EXISTS if ``out`` holds a release, or, as ``require_free``, anything else.

    replace: a release may be there. run: this run's own may.
    """
    if not replace and (out / MANIFEST).is_file() and not (run and _is_of(out, run)):
        fix = "Choose another folder, or say --replace (in Python replace=True): the older release is then gone."
        raise ReleaseError("E_RELEASE_EXISTS", out.name, "it holds a release already", fix)
    require_free(out)


def require_free(out: Path) -> None:
    """ReleaseError E_RELEASE_EXISTS if ``out`` holds anything but an older release, which may be replaced."""
    if out.exists() and not (out / MANIFEST).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ReleaseError(
            "E_RELEASE_EXISTS", out.name, "it holds something that is not a release", "Choose another folder."
        )


def _is_of(out: Path, run: str) -> bool:
    """Whether the release in ``out`` is this run's own: one that was stopped right after it may be made again."""
    try:
        document = load_json(out / MANIFEST)
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("run") == run


@contextmanager
def new_folder(out: Path, replace: bool) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when everything is in it; of an older release with ``replace`` alone."""
    require_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    folder.chmod(0o755)
    old = folder.with_name(folder.name + ".old")
    try:
        yield folder
        _publish(folder, out, old, replace)
    except _OpenError as error:
        raise error.told from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _publish(folder: Path, out: Path, old: Path, replace: bool) -> None:
    """At once, and over nothing that came there meanwhile: a folder that holds something is no folder's new name."""
    while True:
        if replace and (out / MANIFEST).is_file():
            shutil.rmtree(old, ignore_errors=True)  # of an earlier turn, where two replace one release at once
            _move_aside(out, old, folder)
        failpoints.passed("older release aside")
        with suppress(OSError):
            out.rmdir()  # an empty folder is as good as none, but not on every system
        try:
            folder.rename(out)
        except OSError:
            if not os.path.lexists(out):
                raise
        else:
            return
        if not (replace and (out / MANIFEST).is_file()):
            raise _beside(out, folder, "somebody has put something there meanwhile, which stays as it is")


class _OpenError(Exception):
    """The older release cannot be replaced now; the new one, which was paid for, stays beside it."""

    def __init__(self, told: ReleaseError) -> None:
        super().__init__()
        self.told = told


def _move_aside(out: Path, old: Path, new: Path) -> None:
    """At once: half a release could be neither used nor replaced. Windows moves no folder in which a file is open."""
    try:
        with suppress(FileNotFoundError):  # somebody else has, this moment
            out.rename(old)
    except PermissionError:
        raise _beside(out, new, "a file in it is open, so it stays as it is") from None


def _beside(out: Path, new: Path, what: str) -> _OpenError:
    shown = new.rename(new.with_name(new.name.lstrip(".")))
    fix = f"The new one lies whole beside it, as {shown.name}."
    return _OpenError(ReleaseError("E_RELEASE_EXISTS", out.name, what, fix))


def write_model(folder: Path, outcome: Outcome, mark: str = "") -> None:
    """``model.safetensors`` and what is in it, under names that begin with ``mark``, if any, and say so inside."""
    from safetensors.numpy import save_file

    tensors = {k: np.ascontiguousarray(v) for k, v in outcome.generator.tensors().items()}
    save_file(tensors, folder / f"{mark}model.safetensors", {"privacy": "none"} if mark else None)
    described = {
        **({"privacy": "none"} if mark else {}),
        "kind": outcome.study.generator.kind,
        "tensors": {k: list(v.shape) for k, v in tensors.items()},
        "rows": outcome.generator.rows,
    }
    (folder / f"{mark}model.json").write_bytes(canonical_json(described))


def account(outcome: Outcome) -> dict[str, Any]:
    """What was asked of whom, the events it cost, and what they come to: the content of ``ledger.json``.

    Attempts that were given up are in it, too: each counts as charged to everybody, whether its receipts came or not.
    Of a single institution it tells the name, the key, the consent and the receipts. A receipt's digests are of salted
    bytes and give nothing away: the public's guarantee counts on seeing sums only.
    """
    answers: dict[str, list[dict[str, Any]]] = {}
    for answered in outcome.answered:
        for attempt, receipts in enumerate([*answered.void, answered.receipts]):
            for r in receipts:
                answers.setdefault(r.institution, []).append(_answer(answered, attempt, r))
    return {
        "run": outcome.run,
        "study": outcome.study.digest,
        "unit": privacy_unit(outcome.study),
        **({} if outcome.masked else {"masks": UNMASKED}),
        "cost": asdict(outcome.spent.cost),
        "guarantees": _guarantees(outcome),
        "institutions": [
            {
                "name": i.name,
                "key": i.key,
                "consent": outcome.consents[i.name],
                "answers": answers.get(i.name, []),
            }
            for i in outcome.study.institutions
        ],
    }


def _answer(answered: Answered, attempt: int, receipt: Receipt) -> dict[str, Any]:
    return {
        "phase": answered.phase,
        "round": answered.round,
        "attempt": attempt,
        "opened": attempt == answered.attempt,
        "events": [asdict(e) for e in answered.events],
        "receipt": asdict(receipt),
    }


def _guarantees(outcome: Outcome) -> list[dict[str, Any]]:
    return [g.document() for g in guarantees(outcome.study, outcome.spent, outcome.masked)]


def privacy_unit(study: Study) -> str:
    """Whom the guarantee is about, in words."""
    p = study.privacy
    return f"{RELATION}: all rows of a person; {p.counted} per institution, in at most {p.institutions_per_person} institutions"


def _carried(outcome: Outcome, synthetic: npt.NDArray[np.int16]) -> Carried:
    study, generator = outcome.study, outcome.generator
    evidence = Evidence(study.schema.sizes, synthetic, generator.measured, generator.rows)
    return carried(study.schema, study.target_indices, evidence)


def _statement(outcome: Outcome, rows: int, verdict: Verdict, kept: Carried) -> dict[str, Any]:
    return {
        "study": outcome.study.digest,
        "name": outcome.study.name,
        "run": outcome.run,
        "rows": rows,
        "unit": privacy_unit(outcome.study),
        "guarantee": asdict(outcome.spent.cost),
        "guarantees": _guarantees(outcome),
        "trust": outcome.study.privacy.trust,
        **({} if outcome.masked else {"masks": UNMASKED}),
        "institutions": list(outcome.study.institution_names),
        "generator": outcome.study.generator.kind,
        "verdict": [asdict(c) for c in verdict.criteria],
        "carries": kept.document(),
        "software": software(),
        "notice": NOTICE,
    }


def software() -> dict[str, str]:
    names = ("cohortium", "torch", "numpy", "dp-accounting", "flwr")
    return {"python": platform.python_version(), **{name: version_of(name) for name in names}}


def _report(outcome: Outcome, synthetic: Any, verdict: Verdict, answers: Answers, kept: Carried) -> str:
    from cohortium_server.release.report import Facts, render_report

    provenance = {"study digest": outcome.study.digest, "run": outcome.run, **software()}
    measured: Sequence[Measured] = outcome.generator.measured
    return render_report(
        Facts(
            outcome.kind,
            outcome.study,
            outcome.spent,
            synthetic,
            tuple(measured),
            outcome.generator.rows,
            verdict.criteria,
            provenance,
            outcome.generator.curves,
            answers,
            kept,
            outcome.masked,
        )
    )


__all__ = [
    "Answer",
    "Kind",
    "Release",
    "check_evidence",
    "check_kind",
    "load_release",
    "new_folder",
    "require_free",
    "require_no_release",
    "verify",
    "write_model",
    "write_release",
]
