"""A TensorFlow SavedModel, for TensorFlow Serving and the like.

Written with TensorFlow's own operator for StableHLO, XlaCallModule, and JAX's
StableHLO dialect, neither of which is a promised interface. The public way,
jax.experimental.jax2tf, writes StableHLO of JAX's age, which no TensorFlow
older than JAX can read. Each export is loaded and compared before it is kept.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.extend.mlir.dialects import stablehlo

from blt_jax.data.lazy_tensorflow import tensorflow
from blt_jax.deploy.model import TrainedModel
from blt_jax.workdir import files

FOLDER = "savedmodel"
PLATFORMS = ("cpu", "cuda", "tpu")
# The version of StableHLO that the network is written in, of 2024. Only a
# TensorFlow as new as JAX can read the version that JAX writes by default.
_STABLEHLO = "1.0.0"


def write(model: TrainedModel, folder: pathlib.Path) -> None:
  """Writes a SavedModel; its signature takes uint8 "images", gives "logits".

  assets.extra/model.json in it is the description, where TensorFlow leaves room
  for what its users add.
  """
  tf = tensorflow()
  from tensorflow.compiler.tf2xla.python import xla

  size, variables = model.input_size, dict(model.variables)
  program = _export(model, variables)
  holder = tf.Module()
  # In the order of the program's arguments. Variables are saved beside the
  # graph, which may not be larger than 2 GB.
  holder.variables_ = [tf.Variable(leaf) for leaf in jax.tree.leaves(variables)]
  module = stablehlo.serialize_portable_artifact_str(
    program.mlir_module(), _STABLEHLO
  )

  def classify(images):
    arguments = [*holder.variables_, images]
    (logits,) = xla.call_module(
      [arguments[i] for i in program.module_kept_var_idx],
      module=module,
      version=program.calling_convention_version,
      platforms=[name.upper() for name in program.platforms],
      Tout=[tf.float32],
      Sout=[[None, len(model.class_names)]],
    )
    return {"logits": logits}

  holder.logits = tf.function(
    classify,
    input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8, "images")],
    autograph=False,
  )
  tf.saved_model.save(
    holder,
    str(folder / FOLDER),
    signatures={"serving_default": holder.logits},
  )
  extra = folder / FOLDER / "assets.extra"
  extra.mkdir()
  files.write_json(extra / "model.json", model.description.to_json())


def _export(model: TrainedModel, variables: Any) -> jax.export.Exported:
  """The logits of any number of uint8 images, with the weights as arguments."""
  (batch,) = jax.export.symbolic_shape("batch")
  size = model.input_size

  def logits(variables, images):
    with_them = dataclasses.replace(model, variables=variables)
    return with_them.logits_of_pixels(images)

  return jax.export.export(jax.jit(logits), platforms=PLATFORMS)(
    jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), variables),
    jax.ShapeDtypeStruct((batch, size, size, 3), jnp.uint8),
  )


def load(folder: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
  """See `formats`."""
  tf = tensorflow()
  saved = tf.saved_model.load(str(folder / FOLDER))
  logits = saved.signatures["serving_default"]

  def classify(images: np.ndarray) -> np.ndarray:
    return logits(images=tf.constant(images))["logits"].numpy()

  # The function has to keep what was loaded alive, or its graph goes.
  classify.saved = saved  # type: ignore[attr-defined]
  return classify
