"""What any program needs of the machine: files, locks, keys, logs, signals, and words for people.

Here live helpers that know nothing of privacy, tables or studies.
It may import ``errors`` alone.
"""
