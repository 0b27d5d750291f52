"""``python -m cohortium``: the command, for processes that start it again."""

from cohortium.cli import main

main()
