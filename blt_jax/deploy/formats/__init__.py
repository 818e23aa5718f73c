"""The formats that a trained network can be exported in, a module for each.

A module has `write(model, folder)` and `load(folder)`, which reads nothing but
the folder and gives a function from uint8 [n, s, s, 3] to float32 logits,
[n, C].
"""

import importlib
from types import ModuleType

_MODULES = {
  "safetensors": "safetensors_file",
  "jax": "jax_program",
  "savedmodel": "saved_model",
  "onnx": "onnx_file",
}
FORMATS: tuple[str, ...] = tuple(_MODULES)


def module(name: str) -> ModuleType:
  """The module of a format.

  Raises:
    ImportError: when a package is missing; says which to install.
  """
  found = importlib.import_module(f"blt_jax.deploy.formats.{_MODULES[name]}")
  if hasattr(found, "require"):
    found.require()
  return found
