"""The paper's experiments as data: planned, trained, compared with its numbers.

`catalog.py` says what they are, `protocols.py` what they are on each data set.
"""
