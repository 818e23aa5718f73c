"""Reads the work directories of runs, and writes their figures and reports."""
