"""The socket between relay and custodian: the service on it, and the gate that bounds who may ask how much.

It may import ``protocol`` and everything common; of the custodian it knows the interface that it is given.
"""
