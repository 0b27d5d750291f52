"""custodian.proto and what is generated from it (``make stubs``)."""
