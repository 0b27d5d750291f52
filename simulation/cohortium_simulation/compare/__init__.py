"""Many simulations side by side: what a federation would gain, at which epsilon, with which generator, for whom.

Here live the grid of an experiment, its runs and its page. It may import all of the simulation. What comes out was compared with real
rows and is as private as they are; no release is written.
"""
