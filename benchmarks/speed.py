"""How fast the parts are that a study waits for, against the figures we want to reach.

    python benchmarks/speed.py [--draws N] [--rows N] [--rounds N] [--turns N] [--out benchmarks/results/speed.json]

Noise: discrete Gaussian draws on one core, beside NumPy's floating-point normal draws rounded to integers.
Counts: all pairs of a table of 15 columns with 16 cells each, before noise, and how much memory that needs on
top of the table. Engine: a round of 10 custodians that answer at once, so that only messages and the
coordinator are left. Custody: a charge in a ledger that has many, and what a relay costs to start. Training: the sum of
persons' clipped gradients at the parameters of each network, beside the plain gradient of the same network and batch in
ordinary float32, in turns; and beside Opacus, hooks and ghost clipping, on a linear layer of the same width.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from printing import Figure, shown, write
from rich.console import Console
from torch.nn import functional

from cohortium.data.encoding import Codes
from cohortium.data.schema import schema_from_document
from cohortium.federation import wire
from cohortium.ledger.caps import NO_CAPS, Cap, Caps
from cohortium.ledger.receipt import sign_receipt
from cohortium.ledger.records import Charge
from cohortium.ledger.store import Ledger
from cohortium.neural.architecture import Architecture
from cohortium.neural.clipping import Batch, clipped_sum
from cohortium.neural.network import gradient
from cohortium.privacy.accounting import Gaussian
from cohortium.privacy.discrete_gaussian import discrete_gaussian
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries.gradients import ENTRIES_AT_ONCE, FINEST
from cohortium.queries.marginals import Marginals
from cohortium.study.generators import Autoregressive
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium_client.custodian.custodian import Identity
from cohortium_server.rounds.journal import BriefJournal
from cohortium_simulation.engine import run_in_process
from cohortium_simulation.experiment import sign_all

ROOT = Path(__file__).resolve().parents[1]
SIGMAS = (4, 64, 512, 4096)
COLUMNS, CELLS = 15, 16
INSTITUTIONS = 10


def fastest(work: Callable[[], object], times: int = 7) -> float:
    """Seconds of the fastest of some runs, after one that fills caches."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def noise(draws: int) -> list[Figure]:
    figures = []
    for sigma in SIGMAS:
        ours = draws / fastest(partial(discrete_gaussian, sigma, draws, SecureRandomness())) / 1e6
        theirs = draws / fastest(partial(rounded_normal, sigma, draws)) / 1e6
        note = f"{ours / theirs:.2f} of NumPy's {theirs:.1f}"
        figures.append(Figure(f"noise, sigma {sigma}", ours, "million draws/s", 5.0, note, larger_is_better=True))
    return figures


def rounded_normal(sigma: float, draws: int) -> object:
    """What a program without our care would do: floating point, no secret randomness."""
    return np.rint(np.random.default_rng(0).standard_normal(draws) * sigma).astype(np.int64)


def counts(rows: int) -> list[Figure]:
    figures = []
    for many in (rows, 2 * rows):
        codes, query = table(many), all_pairs()
        seconds = fastest(lambda c=codes, q=query: q.contribute(c, SecureRandomness()), times=5)  # type: ignore[misc]
        growth = peak_growth(lambda c=codes, q=query: q.contribute(c, SecureRandomness()))  # type: ignore[misc]
        wanted = 3.0 if many == rows == 1_000_000 else None
        figures.append(Figure(f"all pairs of {many:,} rows", seconds, "s", wanted))
        note = f"the table itself: {codes.values.nbytes / 1e6:.0f} MB"
        figures.append(Figure(f"the same, memory at its peak (+ {many:,} rows)", growth / 1e6, "MB", None, note=note))
    return figures


def table(rows: int) -> Codes:
    values = np.random.default_rng(0).integers(0, CELLS, (rows, COLUMNS)).astype(np.int16)
    return Codes(values, np.arange(rows), (CELLS,) * COLUMNS)


def all_pairs() -> Marginals:
    pairs = tuple(itertools.combinations(range(COLUMNS), 2))
    return Marginals((CELLS,) * COLUMNS, pairs, (1.0,) * len(pairs))


def peak_growth(work: Callable[[], object]) -> int:
    """Bytes allocated at the worst moment, over what was there before."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - before


@dataclass(frozen=True)
class Trivial:
    """A custodian without data: it answers zeros, as fast as it can."""

    identity: Identity
    widths: tuple[int, ...]

    def answer(self, data: bytes) -> bytes:
        request = wire.decode_request(data)
        values = np.zeros(self.widths[min(request.round, 1)], np.int64)
        header = (request.study, request.run, request.round, request.attempt, self.identity.name, "00" * 32)
        reply = wire.encode_reply(wire.Reply(*header, values))
        digest = hashlib.sha256(reply).hexdigest()
        return wire.encode_answer(
            reply, sign_receipt(self.identity.key, self.identity.name, digest, digest, wire.answer_to(request))
        )


def engine(rounds: int) -> list[Figure]:
    """Wall time of many rounds less that of few, so that starting and stopping cancel."""
    few = rounds // 6
    seconds = [fastest(partial(empty_study, r), times=3) for r in (few, rounds)]
    name = f"in-process round, {INSTITUTIONS} institutions"
    return [Figure(name, 1000 * (seconds[1] - seconds[0]) / (rounds - few), "ms", 20.0)]


def empty_study(rounds: int) -> None:
    columns = [{"name": n, "kind": "boolean"} for n in ("a", "b")]
    names = [f"institution-{k:02}" for k in range(INSTITUTIONS)]
    study = Study(
        name="speed",
        schema=schema_from_document({"name": "speed", "column": columns}),
        privacy=Privacy(epsilon=1.0, delta=1e-5),
        generator=Autoregressive(rounds=rounds, steps=1),
        institutions=tuple(Institution(name=n) for n in names),
    )
    widths = tuple(phase.query.width for phase in plan(study).phases)
    identities = [Identity(n, Ed25519PrivateKey.generate()) for n in names]
    signed, consents = sign_all(study, identities)
    run_in_process(signed, consents, {i.name: Trivial(i, widths) for i in identities}, BriefJournal(0))


def custody(entries: int) -> list[Figure]:
    """Charging one event, with its message, into a ledger that has ``entries``; reading all of it; importing the relay."""
    events, cap = (Gaussian(60.0), Gaussian(6.0, 0.1, 10)), Caps(Cap(50.0, 1e-6))
    message = bytes(20_000)
    digest = hashlib.sha256(message).hexdigest()
    seconds = []
    with tempfile.TemporaryDirectory(dir=ROOT) as folder, Ledger(Path(folder) / "ledger.sqlite") as ledger:
        for number in range(entries + 50):
            charge = Charge("people", "aa" * 32, f"{number:032x}", 0, 0, "bb" * 32, digest, events, 1e-6)
            start = time.perf_counter()
            ledger.charge(charge, message, cap if number < 1 else NO_CAPS)
            seconds.append(time.perf_counter() - start)
        begin = time.perf_counter()
        ledger.verify()
        whole = time.perf_counter() - begin
    code = "import time; t = time.perf_counter(); import cohortium_client.app; print(time.perf_counter() - t)"
    reported = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True) for _ in range(3)
    ]
    return [
        Figure(f"charging one event and 20 kB, after {entries:,}", 1000 * float(np.median(seconds[-50:])), "ms", 10.0),
        Figure(f"verifying a ledger of {entries + 50:,} entries and messages", whole, "s", 1.0),
        Figure("importing the relay", min(float(t.stdout) for t in reported), "s", 1.5),
    ]


SEEN = (16, 8, 16, 16, 16, 7, 15, 6, 5, 2, 16, 16, 42, 2)  # the cells of Adult's columns, or nearly
BATCH = 4096


def training(times: int) -> list[Figure]:
    """One step's sum over a batch, in units of the plain step's time: the least of some runs in turns."""
    order, figures = tuple(range(len(SEEN))), []
    rng = np.random.default_rng(0)
    codes = torch.tensor(np.stack([rng.integers(0, k, BATCH) for k in SEEN], 1))
    for name, of in {
        "autoregressive": Architecture("autoregressive", SEEN, order),
        "autoregressive, 64 hidden": Architecture("autoregressive", SEEN, order, 64),
        "diffusion": Architecture("diffusion", SEEN, order),
        "diffusion, 64 hidden, 2 views": Architecture("diffusion", SEEN, order, 64, views=2),
        "tvae": Architecture("tvae", SEEN, order, 64, 16),
        "ctgan": Architecture("ctgan", SEEN, order),
    }.items():
        ours, plain = in_turns(partial(clipped, of, codes), partial(unclipped, of, codes), times)
        figures.append(Figure(f"clipped step, {name}", ours / plain, "plain steps", 1.5, note=f"{1000 * plain:.0f} ms"))
    hooks, ghost, plain = opacus_steps(sum(SEEN), times)
    return [
        *figures,
        Figure("Opacus hooks, a linear layer", hooks / plain, "plain steps"),
        Figure("Opacus ghost clipping, a linear layer", ghost / plain, "plain steps"),
    ]


def in_turns(one: Callable[[], object], other: Callable[[], object], times: int) -> tuple[float, float]:
    """The least seconds of each, taken in turns so that both meet the same machine."""
    seconds: list[tuple[float, float]] = [(fastest(one, 1), fastest(other, 1)) for _ in range(times)]
    return min(s for s, _ in seconds), min(s for _, s in seconds)


def micro_batches(of: Architecture, codes: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(codes, uniforms) as an institution takes them."""
    network = of.network
    for part in torch.split(codes, ENTRIES_AT_ONCE // network.views):
        yield part, torch.rand(len(part) * network.views, network.draws, dtype=torch.float64)


def flat_start(of: Architecture) -> torch.Tensor:
    logs = [np.zeros(k) for k in of.sizes]
    return torch.tensor(of.network.start(logs, np.random.default_rng(0)), dtype=torch.float32)


def clipped(of: Architecture, codes: torch.Tensor) -> None:
    flat, clip = flat_start(of), of.network.default_clip(5.0)
    for part, uniforms in micro_batches(of, codes):
        clipped_sum(of.network, flat, Batch(part, torch.arange(len(part)), uniforms), clip, FINEST, together=True)


def unclipped(of: Architecture, codes: torch.Tensor) -> None:
    flat = flat_start(of)
    for part, uniforms in micro_batches(of, codes):
        gradient(of.network, flat, part.repeat_interleave(of.network.views, 0), uniforms)


def opacus_steps(width: int, times: int) -> tuple[float, float, float]:
    """Seconds of a step by per-sample gradients from hooks, by ghost clipping, and of a plain one."""
    from opacus import GradSampleModule
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    x, y = torch.rand(BATCH, width), torch.randint(0, width, (BATCH,))
    modules = [torch.nn.Linear(width, width) for _ in range(3)]
    hooked = GradSampleModule(modules[0])
    ghost = GradSampleModuleFastGradientClipping(modules[1], max_grad_norm=1.0, use_ghost_clipping=True)

    def by_hooks() -> None:
        hooked.zero_grad()
        functional.cross_entropy(hooked(x), y, reduction="sum").backward()
        norms = sum(p.grad_sample.flatten(1).square().sum(1) for p in hooked.parameters()).sqrt()
        factors = (1 / norms).clamp(max=1)
        for p in hooked.parameters():
            torch.einsum("b,b...->...", factors, p.grad_sample)

    def by_ghosts() -> None:
        ghost.zero_grad()
        losses = functional.cross_entropy(ghost(x), y, reduction="none")
        losses.sum().backward(retain_graph=True)
        factors = ghost.get_clipping_coef()
        ghost.disable_hooks()
        (losses * factors).sum().backward()
        ghost.enable_hooks()

    def plainly() -> None:
        modules[2].zero_grad()
        functional.cross_entropy(modules[2](x), y).backward()

    return fastest(by_hooks, times), fastest(by_ghosts, times), fastest(plainly, times)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--draws", type=int, default=4_000_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "speed.json")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    with tempfile.TemporaryDirectory() as home:
        os.environ["COHORTIUM_HOME"] = home  # receipts of made-up institutions are nobody's
        figures = [*noise(chosen.draws), *counts(chosen.rows), *engine(chosen.rounds), *custody(1000)]
        figures += training(chosen.turns)
    Console(width=140).print(shown(figures, "Speed"))
    write(figures, {"draws": chosen.draws}, chosen.out)


if __name__ == "__main__":
    main()
