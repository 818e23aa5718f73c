"""The benchmark of depthwise convolutions, in small."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import depthwise


def test_both_forms_are_timed_and_give_the_same():
  found = depthwise.operators(2, 6, 3, 3, 2, jnp.float32)
  assert set(found) == {"output", "images", "kernel"}
  for programs in found.values():
    theirs, ours = (jax.tree.leaves(run())[0] for run in programs.values())
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)
  times = depthwise.measure(found["output"], repeats=2)
  assert set(times) == {"lax", "ours"}
  assert all(passed > 0 for passed, _ in times.values())
  row = depthwise._row("3 x 3", "output", {"lax": (2, 0.5), "ours": (1, 0.1)})
  assert row == "| 3 x 3 | output | 2000.0 (500.0) | 1000.0 (100.0) | 5 |"
