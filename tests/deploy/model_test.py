"""The trained network as an object."""

import numpy as np

from blt_jax.deploy.model import TrainedModel


def test_printing_a_network_does_not_print_its_weights():
  model = TrainedModel("described", {"params": {"kernel": np.ones((4, 4))}})

  assert repr(model) == "TrainedModel(description='described')"
