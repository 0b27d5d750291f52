"""Files of tables, as people really have them: CSV of all kinds, Parquet, Excel, compressed or not.

Here live the readers, what they refuse, and the DataFrames of other libraries.
It may import ``data.columns``. What a value means is the schema's to say, never theirs.
"""
