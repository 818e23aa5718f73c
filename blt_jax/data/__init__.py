"""Where images come from, which of them a batch holds, and how they are read.

dataset: the types of a data set. sources/: one loader a source. longtail: class
counts, profiles, shot groups. sampling, epoch_plan: which images each batch
holds. input_pipeline, reading/: batches of pixels. augment, device_resize: what
runs on the device. advice: remarks about the sizes of classes. checks/: the
check of a data set. Nothing here imports TensorFlow before image files or
TFDS's data are read.
"""
