"""Fits of a few steps, and rows refined a little, for tests of all that is around a fit and not of how good it is."""

from __future__ import annotations

from collections.abc import Callable

COMPONENTS = 40  # at most
LOOKS = 600  # at a column of some pairs of rows, a tenth of the product's


def shorten(replace: Callable[[object, str, object], None] = setattr) -> None:
    """Mixtures are small and fitted in a few steps, and few rows are swapped, from now on in this process."""
    from cohortium_server.generators import fitting, swap_refinement

    shaped = fitting.members
    replace(fitting, "MOST", 2 * fitting.RISE)
    replace(fitting, "members", lambda sizes, tables, most: shaped(sizes, tables, min(most, COMPONENTS)))
    replace(swap_refinement, "LOOKS", LOOKS)
