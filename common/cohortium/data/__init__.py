"""Tables: what a schema declares, how files are read, and rows in codes.

Here live columns, conditions on them, the schema made of both, readers of files, and the coding of rows.
It may import ``errors`` and ``system``. Nothing here knows a study, a budget or who asks.
"""
