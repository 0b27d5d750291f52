"""The networks that institutions train and the coordinator samples from, in exact arithmetic.

Here live the networks, per-person clipping, and model states as bytes. Only this folder and its users import torch.
It may import ``system``. No noise is drawn here, and no budget is known.
"""
