import numpy as np
import pytest
from scipy.optimize import bisect, minimize_scalar
from scipy.special import log_softmax, softmax

from blt_jax.method import metrics
from blt_jax.training import calibration


def _logits(n=400, classes=7, *, temperature=1.0, seed=0):
  """Logits whose softmax, divided by the temperature, draws the labels."""
  rng = np.random.default_rng(seed)
  logits = 3 * rng.normal(size=(n, classes))
  labels = np.array(
    [rng.choice(classes, p=p) for p in softmax(logits, axis=1)], np.int32
  )
  return (temperature * logits).astype(np.float32), labels


def _loss(logits, labels, temperature):
  chances = log_softmax(logits.astype(np.float64) / temperature, axis=1)
  return -chances[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_temperature_is_that_of_a_search_for_the_smallest_loss(temperature):
  logits, labels = _logits(temperature=temperature)
  expected = minimize_scalar(
    lambda log: _loss(logits, labels, np.exp(log)), bounds=(-4, 4)
  )
  found = calibration.fit_temperature(logits, labels)
  assert found == pytest.approx(np.exp(expected.x), rel=1e-4)
  assert found == pytest.approx(temperature, rel=0.2)


def _by_bisection(logits, labels):
  """T where the derivative of the loss in 1 / T is 0, in float64."""
  logits = logits.astype(np.float64)
  right = logits[np.arange(len(labels)), labels]

  def slope(temperature):
    chances = softmax(logits / temperature, axis=1)
    return np.mean(np.sum(chances * logits, axis=1) - right)

  return bisect(slope, 1e-2, 1e2, xtol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("temperature", [0.05, 0.4, 1.0, 3.0, 40.0])
@pytest.mark.parametrize("n, classes", [(90, 5), (3000, 2), (3000, 300)])
def test_temperature_is_that_of_a_slow_search(n, classes, temperature):
  logits, labels = _logits(n, classes, temperature=temperature)
  found = calibration.fit_temperature(logits, labels)
  assert found == pytest.approx(_by_bisection(logits, labels), rel=1e-6)


@pytest.mark.parametrize("start", [0.01, 0.02, 1.0, 100.0])
def test_temperature_does_not_depend_on_where_the_search_begins(start):
  """Far off, slopes are flat, and a step leads far away."""
  logits, labels = _logits(temperature=3.0)
  found = calibration._fit(logits, labels, start=start)
  assert found == pytest.approx(_by_bisection(logits, labels), rel=1e-6)


def test_few_wrong_images_among_far_right_ones_have_a_temperature():
  logits = np.zeros((5000, 4), np.float32)
  logits[:, 0] = 80
  labels = np.zeros(5000, int)
  labels[7] = 1
  found = calibration.fit_temperature(logits, labels)
  assert found == pytest.approx(_by_bisection(logits, labels), rel=1e-6)


def test_a_constant_added_to_the_logits_of_an_image_changes_nothing():
  logits, labels = _logits(temperature=3.0)
  logits = np.round(logits * 64) / 64  # So that adding rounds nothing off.
  moved = logits + np.float32(2.0) ** np.arange(400)[:, None].clip(max=12)
  expected = calibration.fit_temperature(logits, labels)
  assert calibration.fit_temperature(moved, labels) == pytest.approx(
    expected, rel=1e-6
  )


def test_blocks_of_images_change_nothing(monkeypatch):
  logits, labels = _logits()
  whole = calibration.fit_temperature(logits, labels)
  monkeypatch.setattr(calibration, "_AT_A_TIME", 7 * 30)
  assert calibration.fit_temperature(logits, labels) == pytest.approx(
    whole, rel=1e-9
  )


def test_temperature_makes_an_overconfident_network_honest():
  logits, labels = _logits(n=4000, temperature=4.0)
  right = logits.argmax(axis=1) == labels
  before, after = (
    metrics.calibration_error(softmax(logits / t, axis=1).max(axis=1), right)
    for t in (1.0, calibration.fit_temperature(logits, labels))
  )
  assert before > 0.2
  assert after < 0.03


def test_no_temperature_where_all_or_nothing_is_right():
  logits, _ = _logits()
  best, worst = logits.argmax(axis=1), logits.argmin(axis=1)
  assert calibration.fit_temperature(logits, best) is None
  assert calibration.fit_temperature(logits, worst) is None
  assert calibration.fit_temperature(logits[:0], best[:0]) is None
  assert calibration.fit_temperature(0 * logits, best) is None
  assert calibration.fit_temperature(np.nan * logits, best) is None


def test_what_is_kept_is_the_softmax_of_the_logits():
  logits, labels = _logits(50)
  prediction = logits.argmax(axis=1)
  found = calibration.reduce(
    logits,
    row=np.arange(50),
    label=labels,
    prediction=prediction,
    in_top5=np.ones(50, bool),
    temperature=2.5,
  )
  rows = np.arange(50)
  for field, divided in (("", 1), ("calibrated_", 2.5)):
    chances = softmax(logits.astype(np.float64) / divided, axis=1)
    confidence = getattr(found, f"{field}confidence")
    likelihood = getattr(found, f"{field}log_likelihood")
    assert confidence.dtype == likelihood.dtype == np.float32
    np.testing.assert_allclose(confidence, chances.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(
      likelihood, np.log(chances[rows, labels]), rtol=1e-5
    )
  again = calibration.calibrated(found, logits, 1.0)
  np.testing.assert_array_equal(again.calibrated_confidence, found.confidence)


def test_very_unlikely_labels_have_a_finite_likelihood():
  logits = np.float32([[5000, 0, 0]])
  found = calibration.reduce(
    logits,
    row=np.array([0]),
    label=np.array([1]),
    prediction=np.array([0]),
    in_top5=np.array([True]),
  )
  assert found.confidence.tolist() == [1]
  assert found.log_likelihood.tolist() == [-5000]


def test_nothing_is_kept_of_no_image():
  found = calibration.reduce(
    np.zeros((0, 3), np.float32),
    row=np.zeros(0, int),
    label=np.zeros(0, int),
    prediction=np.zeros(0, int),
    in_top5=np.zeros(0, bool),
    temperature=2.0,
  )
  assert len(found) == 0


def test_logits_that_are_kept_fit_into_200_megabytes():
  assert calibration.most_images(1000) == 50000
  assert calibration.most_images(8142) == 6140
