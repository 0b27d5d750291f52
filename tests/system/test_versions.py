"""Which versions are reported, and that one which cannot be read ends nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flwr
import pytest

from cohortium import flower_names
from cohortium.errors import WireError
from cohortium.flower import internals
from cohortium.flower.internals import require_allowed
from cohortium.system import versions
from cohortium.system.versions import UNKNOWN, required, version_of
from cohortium_server.release.writing import software

ROOT = Path(__file__).parents[2]
NIGHTLY = "1.43.0.dev20261026"


@pytest.fixture
def nightly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower's distribution is called flwr-nightly, and nobody has imported it."""

    def distribution(name: str) -> Any:
        if name == "flwr-nightly":
            return SimpleNamespace(metadata={"Version": NIGHTLY})
        if name == "flwr":
            raise metadata.PackageNotFoundError(name)
        return metadata.distribution(name)

    monkeypatch.setattr(versions, "distribution", distribution)
    monkeypatch.delitem(sys.modules, "flwr", raising=False)


def test_a_module_states_its_own_version() -> None:
    assert version_of("flwr") == flwr.__version__
    assert version_of("cohortium") == metadata.version("cohortium")


@pytest.mark.usefixtures("nightly")
def test_a_nightly_flower_is_known_by_its_other_name() -> None:
    assert version_of("flwr") == NIGHTLY
    assert software()["flwr"] == NIGHTLY


@pytest.mark.parametrize("broken", [metadata.PackageNotFoundError("x"), KeyError("Version"), {}, {"Version": None}])
def test_what_cannot_be_read_is_unknown(monkeypatch: pytest.MonkeyPatch, broken: Any) -> None:
    def distribution(name: str) -> Any:
        if isinstance(broken, Exception):
            raise broken
        return SimpleNamespace(metadata=broken)

    monkeypatch.setattr(versions, "distribution", distribution)
    assert version_of("no-such-package") == UNKNOWN
    for name in ("flwr", "torch", "numpy"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__version__=UNKNOWN))
    assert {v for n, v in software().items() if n not in ("python", "cohortium")} == {UNKNOWN}


def test_what_is_asked_for_is_read_as_pip_does() -> None:
    asked = required("flwr")
    assert asked is not None and "<" in asked and ">=" in asked
    assert required("no-such-package") is None
    assert required("flwr", by="no-such-package") is None


@pytest.mark.parametrize(
    ("found", "fits"),
    [
        *((found, True) for found in ("1.41.0", "1.42.0rc1", NIGHTLY, UNKNOWN, "mine")),
        *((found, False) for found in ("1.40.9", "1.41.0.dev20261001", "2.0.0")),
    ],
)
def test_a_nightly_flower_is_allowed_as_what_it_becomes(
    monkeypatch: pytest.MonkeyPatch, found: str, fits: bool
) -> None:
    monkeypatch.setattr(internals, "version_of", lambda _: found)
    monkeypatch.setattr(internals, "required", lambda _: ">=1.41,<1.44")
    if fits:
        assert found in require_allowed(flower_names.ENGINE)
    else:
        with pytest.raises(WireError, match="E_FLOWER"):
            require_allowed(flower_names.ENGINE)


def test_where_nothing_says_what_is_allowed_the_names_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internals, "required", lambda _: None)
    monkeypatch.setattr(internals, "version_of", lambda _: "0.1")
    assert "0.1" in require_allowed(flower_names.ENGINE)
    with pytest.raises(WireError, match="E_FLOWER"):
        require_allowed((flower_names.Part(flower_names.CLOCKS.module, ("NO_SUCH",)),))


def test_a_bare_checkout_says_that_nobody_knows_its_version(tmp_path: Path) -> None:
    """Sources on the path, nothing installed of them."""
    hidden = "import importlib.metadata as m, sys; d = m.distribution\n"
    hidden += "def gone(n):\n    if n == 'cohortium': raise m.PackageNotFoundError(n)\n    return d(n)\n"
    code = (
        hidden
        + "m.distribution = gone\nfrom cohortium.cli import main\nsys.argv = ['cohortium', '--version']\nmain()\n"
    )
    path = os.pathsep.join(str(ROOT / room) for room in ("common", "client", "server", "simulation"))
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert (result.stdout, result.returncode) == (f"cohortium {UNKNOWN}\n", 0), result.stderr
