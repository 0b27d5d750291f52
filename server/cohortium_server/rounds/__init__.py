"""A run's rounds: asking institutions, adding up what they answer, and the journal from which it can be taken up again.

It may import ``generators`` and everything common. How messages travel is behind ``transport``.
"""
