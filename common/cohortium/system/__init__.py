"""What any program needs: files, locks, keys, logs, signals, and text for people.

Here live helpers that do not depend on privacy, tables or studies.
They may import ``errors`` alone.
"""
