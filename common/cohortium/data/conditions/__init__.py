"""Conditions on a row: written, compiled to rules, and kept.

Here live what people write (``age=40..60``), the constraints of a schema, and the repair of rows that break one.
It may import ``data.columns``. A schema as a whole is above it: conditions see of it what ``described`` says.
"""
