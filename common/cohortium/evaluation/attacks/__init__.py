"""Attacks on synthetic rows by whoever has real ones: do they say more of persons who took part than of others?

Here live attacks, each in a file of its own, and what their hits prove. Results are as private as the rows they are computed from.
"""
