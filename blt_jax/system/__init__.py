"""The machine around a run: console, processes, signals, caches."""
