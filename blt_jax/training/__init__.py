"""A run: from a configuration to a trained network and its results."""
