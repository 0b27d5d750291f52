"""Tables: what a schema declares, how files are read, and how rows are encoded.

Here live columns, conditions on them, the schema made of both, readers of files, and the encoding of rows.
It may import ``errors`` and ``system``. Nothing here depends on a study, a budget or who asks.
"""
