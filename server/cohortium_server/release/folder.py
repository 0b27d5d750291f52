"""The folder of a release: it appears complete or not at all, and never overwrites what was put there meanwhile."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cohortium.errors import ReleaseError
from cohortium.system import failpoints
from cohortium.system.documents import load_json
from cohortium_server.release.manifest import MANIFEST


def require_no_release(out: Path, replace: bool = False, run: str | None = None) -> None:
    """ReleaseError E_RELEASE_EXISTS if ``out`` holds a release, or, as ``require_free``, anything else.

    replace: a release may be there. run: this run's own may.
    """
    if not replace and (out / MANIFEST).is_file() and not (run and is_of(out, run)):
        fix = "Choose another folder, or add --replace (in Python replace=True): the older release is then gone."
        raise ReleaseError("E_RELEASE_EXISTS", out.name, "it holds a release already", fix)
    require_free(out)


def require_free(out: Path) -> None:
    """ReleaseError E_RELEASE_EXISTS if ``out`` holds anything but an older release, which may be replaced."""
    if out.exists() and not (out / MANIFEST).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ReleaseError(
            "E_RELEASE_EXISTS", out.name, "it holds something that is not a release", "Choose another folder."
        )


def is_of(out: Path, run: str) -> bool:
    """Whether the release in ``out`` is this run's own: a run stopped right after writing it may write it again."""
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
        raise error.shown_error from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _publish(folder: Path, out: Path, old: Path, replace: bool) -> None:
    """Rename at once, overwriting nothing that was put there meanwhile: the system renames onto no folder that holds something."""
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
            raise _beside(out, folder, "something was put there meanwhile, which stays as it is")


class _OpenError(Exception):
    """The older release cannot be replaced now; the new one, which was paid for, stays beside it."""

    def __init__(self, shown_error: ReleaseError) -> None:
        super().__init__()
        self.shown_error = shown_error


def _move_aside(out: Path, old: Path, new: Path) -> None:
    """Move at once: half a release could be neither used nor replaced. Windows moves no folder in which a file is open."""
    try:
        with suppress(FileNotFoundError):  # another process has just moved it
            out.rename(old)
    except PermissionError:
        raise _beside(out, new, "a file in it is open, so it stays as it is") from None


def _beside(out: Path, new: Path, what: str) -> _OpenError:
    shown = new.rename(new.with_name(new.name.lstrip(".")))
    fix = f"The complete new release is beside it, as {shown.name}."
    return _OpenError(ReleaseError("E_RELEASE_EXISTS", out.name, what, fix))
