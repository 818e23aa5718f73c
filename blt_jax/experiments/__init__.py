"""Plans and trains the paper's experiments; compares them with its numbers.

`catalog.py` says which they are, `protocols.py` how each data set changes them.
"""
