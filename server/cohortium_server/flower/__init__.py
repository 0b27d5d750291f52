"""The coordinator's adapters to Flower: its link to the institutions' nodes, and what is run over it."""
