"""Who belongs to a federation: its certificate authority, its members, their kits, and who is present.

It may import everything common. It knows no study and no round.
"""
