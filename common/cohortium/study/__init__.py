"""A study: what is asked of whom under which privacy budget, what follows from it, and who has agreed.

Here live the study and its plan, workload, defaults, consent and guarantee, all of them functions of public facts.
It may import ``data``, ``queries``, ``privacy``, ``masking`` and ``neural``. No row and no answer ever gets here.
"""
