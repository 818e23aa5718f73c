"""BLT: balancing long-tailed data sets with adversarially-perturbed images.

Kozerawski et al., ACCV 2020, in JAX and Flax. Importing it imports neither
TensorFlow nor a data set.
"""

from blt_jax import confusion
from blt_jax.data import sampling
from blt_jax.perturb import PerturbResult, perturb_images

__version__ = "0.1.0"
__all__ = ["PerturbResult", "confusion", "perturb_images", "sampling"]
