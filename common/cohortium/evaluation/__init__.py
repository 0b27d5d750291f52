"""How good synthetic rows are, against real ones.

What comes out is as private as the real rows that go in: an institution, or a researcher with public data,
computes it locally, and it never enters a public report.
"""
