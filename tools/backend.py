"""The build backend: hatchling's, after a look at Python's version.

``requires-python`` says the same, but a pip before 23.1, which is what systems with Python 3.10 bring, looks for every
dependency first, and reports two screens of versions of one that has none for this Python.
"""

from __future__ import annotations

import sys

OLDEST = (3, 11)
if sys.version_info < OLDEST:
    sys.exit(
        f"Cohortium needs Python 3.11 or later; this is Python {sys.version_info[0]}.{sys.version_info[1]}, which is too old. "
        "Make a virtual environment with a later one: python3.11 -m venv .venv"
    )

from hatchling.build import *  # noqa: E402, F403 - all hooks, of which hatchling defines some only for some frontends
