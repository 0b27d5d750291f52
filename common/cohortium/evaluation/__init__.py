"""How good synthetic rows are, measured against real ones.

Results are as private as the real rows they are computed from: whoever may see those computes them locally.
Here live fidelity and utility. Nothing here ever enters a public report.
"""
