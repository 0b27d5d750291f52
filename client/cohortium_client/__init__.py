"""One institution: its custodian, its sources, and the relay that connects them to Flower."""
