"""Configurations: a file for each data set, and common.py with variants."""
