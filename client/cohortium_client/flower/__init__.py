"""The institution's adapters to Flower: its node in the federation, and what runs there. They have no data."""
