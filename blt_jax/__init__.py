"""BLT: balancing long-tailed data sets with adversarially-perturbed images.

Kozerawski et al., ACCV 2020, in JAX and Flax. docs/api.md has a line on each
public name. A name is imported on its first use: `import blt_jax` alone imports
neither JAX nor TensorFlow, and the command line answers at once.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> where it is: "module" or "module:name in it".
_ORIGINS = {
  "PerturbResult": "method.perturb:PerturbResult",
  "SquashingCosine": "models.classifiers:SquashingCosine",
  "config_dict": "config:config_dict",
  "confusion": "method.confusion",
  "convert": "models.torch_weights",
  "create_model": "models:create_model",
  "load": "deploy.load:load",
  "longtail": "data.longtail",
  "losses": "method.losses",
  "metrics": "method.metrics",
  "perturb_images": "method.perturb:perturb_images",
  "sampling": "data.sampling",
  "sources": "data.sources",
  "train": "library:train",
}
__all__ = sorted(_ORIGINS)


def __getattr__(name: str) -> Any:
  """Imports a public name."""
  if name not in _ORIGINS:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  module, _, attribute = _ORIGINS[name].partition(":")
  try:
    found = importlib.import_module(f"{__name__}.{module}")
  except ModuleNotFoundError as error:
    from blt_jax.system.installed import import_message

    raise ImportError(import_message(error), name=error.name) from error
  return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
