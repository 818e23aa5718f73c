"""The check of a data set.

scan reads every image, facts holds the known numbers of published data sets,
findings judges the data set by both, and lines prints the result.
"""
