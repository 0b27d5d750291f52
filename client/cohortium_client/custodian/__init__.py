"""The custodian: the one who answers studies, within its institution's policy, and charges before anything leaves.

Here live policy, agreements, sessions, masked answers and the institution's folder. It may import ``source`` and everything common.
Nothing of Flower may ever be imported here: the coordinator could replace it.
"""
