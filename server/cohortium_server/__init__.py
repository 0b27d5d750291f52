"""The coordinator: asks, adds up, fits a generator, keeps the account and writes the release."""
