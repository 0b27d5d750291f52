"""The sub-commands of ``cohortium`` that both sides have: schema, study and ledger.

Here live their options and what they print. What they do lives in the folders below.
They may import everything in common code. Nothing here decides what leaves an institution.
"""
