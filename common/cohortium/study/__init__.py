"""A study: what is asked of whom at which privacy, what follows from it, and who agreed.

Here live the study and its plan, workload, defaults, consent and guarantee, all functions of public facts.
It may import ``data``, ``queries``, ``privacy``, ``masking`` and ``neural``. No row and no answer is ever here.
"""
