"""BLT: balancing long-tailed data sets with adversarially-perturbed images.

Kozerawski et al., ACCV 2020, in JAX and Flax. Importing it imports neither
TensorFlow nor a data set; JAX and what else a name needs come with its first
use, so that the command line answers at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from blt_jax.data import sampling
  from blt_jax.method import confusion
  from blt_jax.method.perturb import PerturbResult, perturb_images

__version__ = "0.1.0"
__all__ = ["PerturbResult", "confusion", "perturb_images", "sampling"]

_ORIGINS = {
  "PerturbResult": "blt_jax.method.perturb",
  "confusion": "blt_jax.method",
  "perturb_images": "blt_jax.method.perturb",
  "sampling": "blt_jax.data",
}


def __getattr__(name: str) -> Any:
  """Imports a public name on its first use."""
  if name not in _ORIGINS:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  origin = _ORIGINS[name]
  if name in ("confusion", "sampling"):
    return importlib.import_module(f"{origin}.{name}")
  return getattr(importlib.import_module(origin), name)
