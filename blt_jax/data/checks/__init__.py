"""The check of a data set.

scan reads every image, findings judges what it saw, lines prints that, facts
holds what is known of published data sets.
"""
