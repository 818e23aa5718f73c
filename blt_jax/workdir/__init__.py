"""Reads and writes what a work directory holds; computes nothing."""
