"""The files of the product."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("common", "client", "server", "simulation")
SOURCES = [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]
