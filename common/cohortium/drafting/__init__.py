"""A first schema, proposed from one institution's rows, for a person to review; and how rows fit a schema.

Here live the guesses and the reasons given for them. Their result stays marked until a person has reviewed it.
It may import ``data`` and ``queries``. Nothing that answers a study may call it.
"""
