"""An institution's own table: files, databases, and how their columns map to the schema.

It may import everything common. What it reads never leaves but through the custodian.
"""
