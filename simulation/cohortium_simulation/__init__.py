"""Whole federations on one machine: engines, partitions and experiments, for research, tests and the demo."""
