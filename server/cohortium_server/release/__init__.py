"""What everybody may see of a run: synthetic tables, model, study, account and report, under one signature.

This folder draws, writes, signs and verifies releases, and answers questions to one. It may import ``rounds``, ``generators``,
``gate`` and all of ``cohortium``. Data without noise never comes here.
"""

from cohortium_server.release.answers import Answer, Kind
from cohortium_server.release.folder import require_no_release
from cohortium_server.release.release import Release, load_release
from cohortium_server.release.writing import write_release

__all__ = ["Answer", "Kind", "Release", "load_release", "require_no_release", "write_release"]
