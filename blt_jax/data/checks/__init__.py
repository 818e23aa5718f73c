"""The check of a data set, and advice about its classes."""
