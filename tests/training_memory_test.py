from benchmarks import training_memory
from blt_jax.models import vit
from tests import small_run


def test_what_is_frozen_costs_no_memory_and_no_arithmetic():
  with small_run.one_block():
    whole, classifier = (
      training_memory.measure(
        "small_resnet10", train, batch=4, size=8, classes=10
      )
      for train in ("all", "classifier")
    )
  assert classifier.trained == 16 * 10 + 10
  # Weights and momentum of the backbone, against its weights alone.
  saved = whole.state - classifier.state
  assert saved == 4 * (whole.trained - classifier.trained)
  assert classifier.peak < whole.peak - saved
  # A pass forward, against one forward and two back.
  assert classifier.flops < 0.5 * whole.flops


def test_what_is_frozen_beside_adapters_has_no_gradient_and_no_momentum():
  name = "vit_tiny_patch16_224"
  small = {"width": 64, "depth": 1, "patch": 8, "native_size": 16}
  with small_run.network_of(vit.CONFIGS, name, **small):
    whole, adapters = (
      training_memory.measure(name, train, batch=4, size=16, classes=10)
      for train in ("all", "adapters")
    )
  # Of SGD each frozen weight of the backbone would have a gradient and a
  # momentum, of 4 bytes each.
  frozen = whole.trained - (64 * 10 + 10)
  assert whole.peak - adapters.peak >= 8 * frozen
