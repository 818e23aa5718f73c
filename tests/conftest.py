"""What every test runs under: four emulated devices, and no leniency.

Implicit rank promotion raises here, and warnings are errors (pyproject.toml).
"""

import os

# Read when jax and TensorFlow are first imported, so set before either is.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(
  [
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=4",
  ]
).strip()
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import pathlib

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
  """The folder of specifications, golden features and data beside the repo."""
  folder = ROOT.parent / "shared"
  if not folder.is_dir():
    pytest.skip("../shared is not on this machine")
  return folder
