"""`blt_jax.load`: a trained network from an export or a work directory."""

import os
import pathlib
from typing import TYPE_CHECKING

from blt_jax.deploy.model import TrainedModel

if TYPE_CHECKING:
  import flax.linen as nn


def load(
  directory: str | os.PathLike,
  *,
  model: "nn.Module | None" = None,
  pretrained: str | os.PathLike | None = None,
) -> TrainedModel:
  """A trained network from an export or from the work directory of a run.

  Args:
    directory: what --mode=export wrote with safetensors among its formats
      (needs the package safetensors), its model.safetensors alone, or a
      --workdir (needs `pip install "blt_jax[train]"`), whose best epoch by
      validation is taken. ~ is the home folder.
    model: the network of a run that `blt_jax.train(..., model=...)` trained.
    pretrained: the file of the weights that a run began with, where it has
      moved and the run trained a part of the network (config.model.train).

  Returns:
    The network; see its `predict`, `logits`, `class_names`, `preprocessing`.

  Raises:
    ValueError: there is no network, a damaged one, or another one than `model`,
      or `pretrained` is another file or not needed; names the file.
    FileNotFoundError: a run has no checkpoint that can be read.
    ImportError: a package is missing.
  """
  path = pathlib.Path(os.path.expanduser(directory))
  if (path / "config.json").is_file():
    from blt_jax.deploy.from_run import from_workdir

    file = None if pretrained is None else os.fspath(pretrained)
    return from_workdir(path, own=model, pretrained=file)
  for name, value in (("model", model), ("pretrained", pretrained)):
    if value is not None:
      raise ValueError(
        f"{name} is a {type(value).__name__}; expected it with the work "
        f"directory of a run, and {path} is none."
      )
  from blt_jax.deploy.formats import safetensors_file

  return safetensors_file.read(path)
