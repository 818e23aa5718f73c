"""A run that the tests of several kinds of charts draw."""

import numpy as np
import pytest

from tests.report_runs import CONFUSION, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A finished run whose classes are not in the order of their sizes."""
  place = [1, 2, 0, 3]  # Of each class in CONFUSION.
  return make_run(
    tmp_path_factory.mktemp("run"),
    counts=(60, 5, 120, 5),
    names=("bee", "cat", "ant", "dog"),
    confusion=np.array(CONFUSION)[place][:, place],
  )
