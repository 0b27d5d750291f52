"""Peers of ours, each in an environment of its own (``benchmarks/.peers/``, made at first use), judged as we are.

A peer gets the codes in which everybody is judged and gives back synthetic ones. It trusts one institution with all rows.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / ".peers"
LIMIT = 15 * 60  # seconds of a processor that a run may take
Codes = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Peer:
    """A pinned package, and the script that runs one of its mechanisms."""

    requirement: str
    script: str
    mechanism: str


PEERS = {
    "dpmm MST": Peer("dpmm==0.1.9", "dpmm_codes.py", "mst"),
    "dpmm AIM": Peer("dpmm==0.1.9", "dpmm_codes.py", "aim"),
}


def synthesise(
    peer: Peer, codes: Codes, sizes: tuple[int, ...], epsilon: float, delta: float, seed: int, limit: int = LIMIT
) -> tuple[Codes, float] | None:
    """Synthetic codes, and the processor's seconds of fitting and drawing; None where ``limit`` seconds were too few."""
    python = environment(peer)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(source, codes=codes, sizes=np.array(sizes))
        command = [python, HERE / peer.script, source, out, peer.mechanism, epsilon, delta, seed]
        words = ["bash", "-c", f'ulimit -t {limit}; exec "$@"', "peer", *(str(part) for part in command)]
        ended = subprocess.run(words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if ended.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            return None
        if ended.returncode:
            raise RuntimeError(f"{peer.requirement} {peer.mechanism}: {ended.stderr[-500:]}")
        given = np.load(out)
        return given["codes"], float(given["seconds"])


def environment(peer: Peer) -> Path:
    """The peer's python; its environment is made where it is not there yet."""
    folder = ENVIRONMENTS / peer.requirement
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", peer.requirement], check=True)
        done.touch()
    return python
