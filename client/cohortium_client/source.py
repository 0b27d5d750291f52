"""Where an institution's data live: files to codes of the study's schema."""

from __future__ import annotations

from pathlib import Path

from cohortium.encoding import Codes, encode_parts
from cohortium.schema import Schema
from cohortium.tables import read_parts


def load_codes(path: Path, schema: Schema, *, drop_bad_rows: bool = False) -> Codes:
    """A CSV or Parquet file, streamed, as codes; columns that the schema does not name are never read."""
    wanted = [*schema.names, *([schema.person] if schema.person else [])]
    return encode_parts(read_parts(path, wanted, drop_bad_rows=drop_bad_rows), schema)
