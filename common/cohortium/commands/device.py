"""Which device a machine trains on, printed before it starts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cohortium.system.output import print_status

if TYPE_CHECKING:
    from cohortium.study.study import Study


def print_device(studies: Iterable[Study]) -> None:
    """Print on which device this machine trains, if any of ``studies`` trains."""
    from cohortium.study.generators import Trained

    if any(isinstance(study.generator, Trained) for study in studies):
        from cohortium.neural.device import device_words

        print_status(f"training runs on {device_words()}")
