"""Noise and its price: secret randomness, the discrete Gaussian, and accounting by two independent methods.

Here live the primitives of differential privacy, each with its formal guarantee.
It may import ``errors`` alone. Nothing here depends on a table, a query or a study.
"""
