"""The torch models that both sides share. Only this package and what uses it import torch."""
