"""Methods whose steps differ from BLT's, each trained for real."""

import csv
import pathlib

import numpy as np
import pytest

from blt_jax.training import train
from tests.marks import long_test
from tests.small_run import make_config, one_block, without_examples


@pytest.fixture(autouse=True, scope="module")
def _one_block():
  with one_block(), without_examples():
    yield


def _train(method, workdir: pathlib.Path):
  results = train.train(make_config(f",method={method}"), workdir)
  with (workdir / "metrics.csv").open() as file:
    return results, list(csv.DictReader(file))


@long_test("another run")
def test_augmentations_add_images_without_any_update(tmp_path):
  _, rows = _train("augmentations", tmp_path)
  assert float(rows[2]["hallucinated_share"]) > 0.05
  assert float(rows[2]["mean_updates"]) == 0


@long_test("another run")
def test_entire_batch_hallucinates_for_every_class(tmp_path):
  _, rows = _train("blt_entire_batch", tmp_path)
  # A quarter of 64 images, less the classes that were never confused.
  assert 0.12 < float(rows[2]["hallucinated_share"]) <= 0.2
  assert float(rows[2]["mean_updates"]) > 0


@pytest.mark.parametrize(
  "method",
  [
    "static_targeted",
    pytest.param("static_random", marks=long_test("another run")),
  ],
)
def test_static_images_are_made_once_and_reused(method, tmp_path, capsys):
  results, rows = _train(method, tmp_path)
  assert "static images" in capsys.readouterr().out
  with np.load(tmp_path / "static_images.npz") as pool:
    tail = np.array(results["class_counts"]) <= 20
    made = np.bincount(pool["labels"], minlength=10)
    np.testing.assert_array_equal(
      made[tail], np.array(results["class_counts"])[tail]
    )
    assert made[~tail].sum() == 0
    assert pool["images"].shape == (made.sum(), 8, 8, 3)
    assert np.isfinite(pool["images"]).all()
  assert float(rows[2]["hallucinated_share"]) > 0.05
  assert float(rows[2]["mean_updates"]) == 0


@long_test("two more runs")
def test_plain_and_neither_hallucinate_nothing(tmp_path):
  _, rows = _train("plain", tmp_path)
  assert all(float(row["hallucinated_share"]) == 0 for row in rows)
