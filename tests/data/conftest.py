"""Both readers of files, for tests that both have to pass."""

import pytest

from blt_jax.data import input_pipeline
from blt_jax.data.reading.pillow_reader import PillowReader
from blt_jax.data.reading.tf_reader import TfReader


@pytest.fixture(params=[TfReader, PillowReader])
def reader(request, monkeypatch):
  """Has all files read by one of the readers."""
  monkeypatch.setattr(input_pipeline, "default_reader", lambda: request.param)
  return request.param
