import types

import numpy as np
import pytest

from benchmarks import ascent_dtype


def _made(*changes):
  """Images of ones, and what updates added to them."""
  changes = np.array(changes, np.float32).reshape(-1, 1, 1, 1)
  return types.SimpleNamespace(
    images=1 + changes,
    original=np.ones_like(changes),
    num_updates=(changes.ravel() != 0).astype(np.int32),
  )


# Above 1 the numbers of bfloat16 are 1/128 apart.
@pytest.mark.parametrize(
  "changes, share",
  [
    ((1 / 128, 2), 1),
    ((0, 1 / 128), 1),
    ((1, 1 / 512), 0),
    ((1.25 / 128,), 0.8),
  ],
)
def test_what_bfloat16_keeps_of_a_change(changes, share):
  made = _made(*changes)
  assert ascent_dtype.kept(made, "bfloat16") == pytest.approx(share)
  assert ascent_dtype.kept(made, "float32") == 1
