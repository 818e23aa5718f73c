"""docs/api.md is what the docstrings say, and their examples are true."""

import doctest
import importlib
import inspect
import pathlib
import sys

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


@pytest.fixture(scope="module")
def make_api():
  spec = importlib.util.spec_from_file_location(
    "make_api", ROOT / "docs" / "make_api.py"
  )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_page_is_what_the_docstrings_say(make_api):
  assert make_api.PAGE.read_text() == make_api.make_page(), (
    "docs/api.md is not up to date: run `python docs/make_api.py`"
  )


def test_page_has_every_name_that_programs_may_call(make_api):
  for module, names in SHOWN.items():
    listed = make_api.public_names(importlib.import_module(module))
    assert names <= set(listed)
  for name in blt_jax.__all__:
    value = getattr(blt_jax, name)
    if inspect.ismodule(value):
      assert value.__name__ in make_api.PUBLIC
    else:
      public = make_api.public_names(sys.modules[value.__module__])
      assert name in public


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
