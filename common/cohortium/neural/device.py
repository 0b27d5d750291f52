"""Which device torch computes on."""

from __future__ import annotations

import torch


def best_device() -> str:
    """CUDA where there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"
