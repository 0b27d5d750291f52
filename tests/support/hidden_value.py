"""A value that no refusal of a source may tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from cohortium.data.columns import Continuous
from cohortium.data.schema import Schema
from cohortium.errors import CohortiumError
from cohortium_client.source.source import Source, load_source

CANARY = "canary-7391"
NUMBERS = Schema(columns=(Continuous(name="n", lower=0, upper=100, bins=10),))


def refusal(source: Source, folder: Path, schema: Schema = NUMBERS) -> CohortiumError:
    with pytest.raises(CohortiumError) as caught:
        load_source(source, folder, schema)
    assert CANARY not in "".join(map(str, (caught.value, caught.value.args, caught.value.as_dict())))
    return caught.value
