"""Conditions on a row: parsed, compiled to rules, and enforced.

Here live what people write (``age=40..60``), the constraints of a schema, and the repair of rows that break one.
It may import ``data.columns``. The schema is built on top of it: conditions see the part of it that ``described`` names.
"""
