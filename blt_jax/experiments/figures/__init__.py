"""The figures of the experiments, by kind."""
