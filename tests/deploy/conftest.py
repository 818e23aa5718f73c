"""One small run for all tests of what is done with a trained network."""

import pytest

from blt_jax.deploy.from_run import from_workdir
from tests.small_run import trained_run


@pytest.fixture(scope="session")
def run():
  return trained_run()


@pytest.fixture(scope="session")
def model(run):
  return from_workdir(run)
