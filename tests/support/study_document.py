"""A study's file, as a dictionary."""

from __future__ import annotations

from typing import Any


def document(**privacy: Any) -> dict[str, Any]:
    return {
        "study": {"name": "s"},
        "privacy": {"epsilon": 1.0, "delta": 1e-6, **privacy},
        "generator": {"kind": "sweep"},
        "institution": [{"name": "north"}],
    }
