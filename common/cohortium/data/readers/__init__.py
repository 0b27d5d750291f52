"""Readers of tables as people have them: CSV of all kinds, Parquet, Excel, compressed or not, and DataFrames.

Here live the readers and what they refuse.
They may import ``data.columns``. What a value means is decided by the schema, never by a reader.
"""
