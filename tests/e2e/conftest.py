"""These tests run a whole federation of processes each, with ``make e2e``; a plain ``pytest`` leaves them out."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
