"""What two parties of a federation have in common: messages, the kit, membership, whether somebody answers, the forecast.

Here lives what both sides must agree on byte by byte.
It may import ``study`` and all below it. Nothing here knows Flower.
"""
