import jax
import numpy as np

from benchmarks import scale
from blt_jax.models import create_model
from tests import small_run


def test_a_step_sends_its_gradients_and_the_statistics_of_its_batches():
  counts = np.array([40, 30, 20, 10])
  dataset = scale.Dataset("made up", counts, "small_resnet10")
  with small_run.one_block():
    step = scale.measure(dataset, 2, batch_size=8, image_size=8)
    model = create_model("small_resnet10", 4)
    image = np.zeros((1, 8, 8, 3), np.float32)
    shapes = jax.eval_shape(
      lambda: model.init(jax.random.key(0), image, train=False)
    )
  parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
  statistics = sum(leaf.size for leaf in jax.tree.leaves(shapes["batch_stats"]))
  assert step.parameters == parameters
  # Mean and variance of each channel, at most two sums of their gradients, and
  # a few metrics.
  others = step.sent / 4 - parameters
  assert statistics < others < 2 * statistics + 20
  assert step.slots % 2 == 0
  assert step.used < step.slots


def test_the_bytes_of_a_collective_are_those_of_its_arrays():
  program = """
  %a = (f32[64]{0}, s32[]) all-reduce(%x, %y), channel_id=1
  %b = f32[] get-tuple-element(%a), index=1
  ROOT %c = bf16[2,3]{1,0} all-reduce(%z), channel_id=2
"""
  assert scale.sent_by(program) == [4 * 64 + 4, 2 * 6]


def test_more_gpus_read_and_compute_faster_and_wait_for_one_another():
  step = scale.Step(
    slots=64,
    used=10.0,
    flops=1e12,
    parameters=10**7,
    collectives=50,
    sent=10**8,
  )
  one, eight, many = (scale.seconds(step, devices) for devices in (1, 8, 64))
  np.testing.assert_allclose(one.arithmetic, 64 * many.arithmetic)
  np.testing.assert_allclose(one.reading, 8 * eight.reading)
  passes = 3 * (256 + 64) + 10 * (2 * scale.UPDATES + 1)
  expected = 1e12 * passes / (3 * 256) / (scale.PEAK * scale.REACHED)
  np.testing.assert_allclose(one.arithmetic, expected)
  assert eight.network < many.network
  assert many.step == max(many.arithmetic + many.network, many.reading)
