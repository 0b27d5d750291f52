"""What answers cost: events and accounting, and the ledger that remembers them."""
