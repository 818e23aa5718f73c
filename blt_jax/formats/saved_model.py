"""A TensorFlow SavedModel, for TensorFlow Serving and the like."""

import pathlib
from collections.abc import Callable

import numpy as np

from blt_jax.data.tf_images import tensorflow
from blt_jax.trained import TrainedModel

FOLDER = "savedmodel"
FILES = (FOLDER,)


def write(model: TrainedModel, folder: pathlib.Path) -> None:
  """Writes a SavedModel; its signature takes uint8 "images", gives "logits"."""
  from jax.experimental import jax2tf

  tf = tensorflow()
  holder = tf.Module()
  # Variables are saved beside the graph, which may not be larger than 2 GB.
  holder.variables_ = tf.nest.map_structure(tf.Variable, dict(model.variables))
  convert = jax2tf.convert(
    lambda variables, images: TrainedModel(
      model.about, variables
    ).logits_of_pixels(images),
    polymorphic_shapes=[None, "(batch, _, _, _)"],
    with_gradient=False,
    native_serialization_platforms=("cpu", "cuda", "tpu"),
  )
  size = model.image_size
  holder.logits = tf.function(
    lambda images: {"logits": convert(holder.variables_, images)},
    input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8, "images")],
    autograph=False,
  )
  tf.saved_model.save(
    holder,
    str(folder / FOLDER),
    signatures={"serving_default": holder.logits},
  )


def load(folder: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
  """See `formats`."""
  tf = tensorflow()
  saved = tf.saved_model.load(str(folder / FOLDER))
  logits = saved.signatures["serving_default"]

  def classify(images: np.ndarray) -> np.ndarray:
    return logits(images=tf.constant(images))["logits"].numpy()

  # The graph goes when nothing holds what was loaded.
  classify.saved = saved  # type: ignore[attr-defined]
  return classify
