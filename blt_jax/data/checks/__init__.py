"""The check of a data set, and advice about the sizes of its classes.

scan reads every image, findings judges what it saw, lines prints that, facts
holds what is known of published data sets. advice needs no image.
"""
