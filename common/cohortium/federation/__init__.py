"""What both sides of a federation share: messages, join kits, applications, a TLS probe, and a study's forecast.

Here lives what both sides must agree on byte by byte.
It may import ``study`` and everything below it. Nothing here depends on Flower.
"""
