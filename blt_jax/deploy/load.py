"""`blt_jax.load`: a trained network from an export or a work directory."""

import os
import pathlib
from typing import TYPE_CHECKING

from blt_jax.deploy.model import TrainedModel

if TYPE_CHECKING:
  import flax.linen as nn


def load(
  directory: str | os.PathLike, *, model: "nn.Module | None" = None
) -> TrainedModel:
  """A trained network from an export or from the work directory of a run.

  Args:
    directory: what --mode=export wrote with safetensors among its formats
      (needs the package safetensors), its model.safetensors alone, or a
      --workdir (needs `pip install "blt_jax[train]"`), whose best epoch by
      validation is taken. ~ is the home folder.
    model: the network of a run that `blt_jax.train(..., model=...)` trained.

  Returns:
    The network; see its `predict`, `logits`, `class_names`, `preprocessing`.

  Raises:
    ValueError: there is no network, a damaged one, or another one than `model`;
      names the file.
    FileNotFoundError: a run has no checkpoint that can be read.
    ImportError: a package is missing.
  """
  path = pathlib.Path(os.path.expanduser(directory))
  if (path / "config.json").is_file():
    from blt_jax.deploy.from_run import from_workdir

    return from_workdir(path, own=model)
  if model is not None:
    raise ValueError(
      f"model is a {type(model).__name__}; expected it with the work directory "
      f"of a run, and {path} is none."
    )
  from blt_jax.deploy.formats import safetensors_file

  return safetensors_file.read(path)
