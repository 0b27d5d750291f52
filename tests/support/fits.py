"""Fits of a few steps, for tests of all that is around a fit and not of how good it is."""

from __future__ import annotations

from collections.abc import Callable

COMPONENTS = 40  # at most


def shorten(replace: Callable[[object, str, object], None] = setattr) -> None:
    """Mixtures are small and fitted in a few steps, from now on in this process."""
    from cohortium_server.generators import fitting

    shaped = fitting.members
    replace(fitting, "MOST", 2 * fitting.RISE)
    replace(fitting, "members", lambda sizes, tables, most: shaped(sizes, tables, min(most, COMPONENTS)))
