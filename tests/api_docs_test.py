"""docs/api.md lists the public names, and the docstrings' examples are true."""

import doctest
import importlib
import inspect
import pathlib
import re

import pytest

import blt_jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The names of the design whose docstrings show a call.
SHOWN = {
  "blt_jax.method.perturb": {"perturb_images"},
  "blt_jax.method.confusion": {"confusion_matrix", "sample_confusing_classes"},
  "blt_jax.data.sampling": {"class_probabilities"},
  "blt_jax.data.longtail": {
    "exponential_counts",
    "step_counts",
    "shot_groups",
  },
  "blt_jax.method.metrics": {"shot_accuracies"},
  "blt_jax.models": {"create_model"},
  "blt_jax.models.classifiers": {"SquashingCosine"},
  "blt_jax.models.torch_weights": {
    "backbone_from_torchvision",
    "backbone_to_torchvision",
  },
}


ROW = re.compile(r"^\| `(\w+)` \| .+ \| \[.+\]\(\.\./(.+)\) \|$", re.M)


def test_page_lists_the_public_names_and_where_they_are():
  rows = ROW.findall((ROOT / "docs" / "api.md").read_text())
  assert [name for name, _ in rows] == blt_jax.__all__
  for name, path in rows:
    value = getattr(blt_jax, name)
    source = pathlib.Path(inspect.getsourcefile(value))
    assert source == ROOT / path


def test_unknown_names_are_refused():
  with pytest.raises(AttributeError, match="'blt_jax' has no attribute 'lod'"):
    _ = blt_jax.lod
  assert set(blt_jax.__all__) <= set(dir(blt_jax))


@pytest.mark.parametrize("name", SHOWN)
def test_examples_in_docstrings_are_true(name):
  module = importlib.import_module(name)
  results = doctest.testmod(module)
  assert results.attempted
  assert not results.failed


@pytest.mark.parametrize("name", SHOWN)
def test_public_names_show_a_call(name):
  module = importlib.import_module(name)
  tests = doctest.DocTestFinder().find(module)
  shown = {test.name.split(".")[-1] for test in tests if test.examples}
  assert SHOWN[name] <= shown
