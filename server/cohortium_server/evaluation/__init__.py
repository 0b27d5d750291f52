"""A release compared with real rows, by whoever holds these: as private as they are, and never a part of the release.

Here live what ``Release.evaluate`` and ``cohortium evaluate`` show, and their page. It may import ``release.page`` and all of
``cohortium``. Nothing that makes a release may import it.
"""
