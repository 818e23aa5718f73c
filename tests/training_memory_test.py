from benchmarks import training_memory
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
