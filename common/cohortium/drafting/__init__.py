"""A first schema, proposed from rows at one institution, for a person to review.

Here live the guesses and the reasons given for them; their result is marked until somebody has looked at it.
It may import ``data`` and ``queries``. Nothing here may be called by what answers a study.
"""
