"""The sub-commands of ``cohortium`` that both sides have."""
