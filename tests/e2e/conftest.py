"""These tests run a whole federation of processes each, with ``make e2e``; a plain ``pytest`` leaves them out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What a federation took; a process that runs tests for another has no terminal to say it on."""
    from deployed import FIGURES

    for report in terminalreporter.getreports("passed"):
        for name, reported in report.user_properties:
            if name == FIGURES:
                terminalreporter.write_line(f"\n{reported}")
