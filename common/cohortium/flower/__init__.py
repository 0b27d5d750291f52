"""What both sides' adapters share of Flower's internals: its parts, environment variables and task executor.

Here live names and checks, so that a changed version of Flower is noticed in one place.
It may import ``system``. No privacy lives here, and nothing else in common code depends on Flower.
"""
