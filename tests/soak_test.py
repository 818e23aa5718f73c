"""Straight lines through what a soak saw. No process is started here."""

import math
import os
import re

import numpy as np
import pytest

from benchmarks import soak

EPOCHS = np.arange(100.0)


def _lines(**changed):
  """Lines of series that stay as they are, but for those given."""
  noise = np.random.default_rng(0).normal(size=len(EPOCHS))
  series = {
    "memory": (EPOCHS, 1e6 + 50 * noise),
    "open files": (EPOCHS, 7 + (noise > 2)),
    "threads": (EPOCHS, 37 + (noise > 1)),
  }
  for name, growth in changed.items():
    epochs, values = series[name.replace("_", " ")]
    series[name.replace("_", " ")] = (epochs, values + growth * EPOCHS)
  return soak.after_warmup(series, 10)


def test_line_by_hand():
  line = soak.fit(np.arange(4.0), np.array([0.0, 1.0, 1.0, 2.0]))
  # Residuals -0.1, 0.3, -0.3, 0.1; the epochs' squared distances sum to 5.
  assert line.slope == pytest.approx(0.6)
  assert line.error == pytest.approx(math.sqrt(0.2 / 2 / 5))
  assert (line.mean, line.epochs) == (1, 3)


def test_warmup_is_left_out():
  values = np.where(EPOCHS < 50, 1000 * EPOCHS, 7 + 2 * EPOCHS)
  line = soak.after_warmup({"memory": (EPOCHS, values)}, 50)["memory"]
  assert line.slope == pytest.approx(2)
  assert line.error == pytest.approx(0, abs=1e-9)
  assert line.epochs == 49


def test_what_stays_as_it_is_does_not_grow():
  assert soak.growing(_lines()) == []


@pytest.mark.parametrize(
  "name, growth, message",
  [
    ("memory", 110, "memory grows by .* kB an epoch, more than 100"),
    ("open_files", 0.1, "open files: .* more at the end, allowed 1"),
    ("threads", 0.1, "threads: .* more at the end, allowed 1"),
  ],
)
def test_a_leak_is_found(name, growth, message):
  (found,) = soak.growing(_lines(**{name: growth}))
  assert re.fullmatch(message, found)


def test_epochs_end_when_their_confusion_is_written(tmp_path):
  (tmp_path / "confusion").mkdir()
  for number, end in enumerate((100.0, 110.0, 130.0), 1):
    path = tmp_path / "confusion" / f"stage1-epoch00{number}.npz"
    path.write_bytes(b"")
    os.utime(path, (end, end))
  (tmp_path / "metrics.csv").write_text("epoch,seconds\n1,9\n2,8\n3,19\n")
  samples = [(t, 1000.0 + t, 7.0, 37.0) for t in (90.0, 105.0, 115.0, 131.0)]
  series = soak.series_of(tmp_path, samples)
  epochs, memory = series["memory"]
  np.testing.assert_allclose(epochs, [1.5, 2.25])
  np.testing.assert_array_equal(memory, [1105, 1115])
  np.testing.assert_array_equal(series["epoch"][1], [10, 20])
  np.testing.assert_array_equal(series["steps of an epoch"][1], [9, 8, 19])
