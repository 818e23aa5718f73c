"""Where images come from, which of them a batch holds, and how they are read.

longtail.py: class counts, profiles, shot groups. sources.py: data sets.
sampling.py: index streams. pipeline.py: batches of pixels. augment.py: on the
device. Nothing here imports TensorFlow before image files are read.
"""
