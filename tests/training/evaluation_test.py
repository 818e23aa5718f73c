"""Passes over a split, with logits that are given in the place of images."""

import dataclasses
import types

import numpy as np
import pytest
from scipy.special import log_softmax

from blt_jax.method.train_step import EvalBatch
from blt_jax.training import calibration, evaluation, final, measures
from tests.rows import make_row

STATE = types.SimpleNamespace(confusion=np.zeros((6, 6), np.int32))
# Twelve places of batches of four for ten images, of which two can't be read.
MASK = np.arange(12) < 10
MASK[[3, 6]] = False
ROWS = np.flatnonzero(MASK)


def _logits():
  return np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)


LABELS = np.int32([0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 0, 0])


def _batches():
  for some in np.arange(12).reshape(3, 4):
    yield EvalBatch(_logits()[some], LABELS[some], MASK[some])


def _eval_fn(state, batch):
  ranked = np.argsort(-batch.image, axis=1)[:, :5]
  return {
    "label": batch.label,
    "mask": batch.mask,
    "prediction": [ranked[:, 0].astype(np.int32)],
    "in_top5": [(ranked == batch.label[:, None]).any(axis=1)],
    "logits": [batch.image],
  }


def _predict(*, temperature=2.0, kept=()):
  chosen = np.isin(np.arange(10), kept)
  return evaluation.predict(
    STATE, _batches(), _eval_fn, temperature=temperature, kept=chosen
  )


def test_every_image_that_can_be_read_is_predicted_in_order():
  found, _ = _predict()
  assert found.row.tolist() == ROWS.tolist()
  np.testing.assert_array_equal(found.label, LABELS[ROWS])
  np.testing.assert_array_equal(found.prediction, _logits()[ROWS].argmax(1))
  worst = _logits()[ROWS].argmin(axis=1)
  np.testing.assert_array_equal(found.in_top5, worst != LABELS[ROWS])
  for name, divided in (("", 1), ("calibrated_", 2)):
    chances = log_softmax(_logits()[ROWS] / divided, axis=1)
    np.testing.assert_allclose(
      getattr(found, f"{name}log_likelihood"),
      chances[np.arange(8), LABELS[ROWS]],
      rtol=1e-5,
    )
    np.testing.assert_allclose(
      getattr(found, f"{name}confidence"),
      np.exp(chances.max(axis=1)),
      rtol=1e-5,
    )


def test_logits_of_chosen_images_are_kept():
  _, kept = _predict(kept=(0, 3, 5, 9))  # Image 3 can't be read.
  np.testing.assert_array_equal(kept.logits, _logits()[[0, 5, 9]])
  assert kept.labels.tolist() == LABELS[[0, 5, 9]].tolist()


def test_counts_are_those_of_the_predictions():
  (counts,) = evaluation.evaluate(STATE, _batches(), _eval_fn)
  found, _ = _predict()
  expected = np.zeros((6, 6), int)
  np.add.at(expected, (found.label, found.prediction), 1)
  np.testing.assert_array_equal(counts.confusion, expected)
  in_top5 = np.bincount(found.label[found.in_top5], minlength=6)
  np.testing.assert_array_equal(counts.in_top5, in_top5)


class _Run:
  """A run whose splits are the images above; what final.py takes of one."""

  def __init__(self):
    self.dataset = types.SimpleNamespace(num_classes=6)
    self.passes = []

  def predict(self, state, role, *, guard, stage=None, temperature=1.0, keep=0):
    self.passes.append((role, temperature))
    kept = np.linspace(0, 9, min(keep, 10)).round()
    return _predict(temperature=temperature, kept=kept)


def _assert_calibrated(tested, temperature):
  expected, _ = _predict(temperature=temperature)
  for predictions in tested.predictions.values():
    for name, values in vars(expected).items():
      found = getattr(predictions, name)
      np.testing.assert_allclose(found, values, rtol=1e-6)


def test_temperature_is_fitted_between_validation_and_test(capsys):
  run = _Run()
  tested = final.test_epoch(run, None, make_row(1, 1, 1), guard=iter)
  expected = calibration.fit_temperature(_logits()[ROWS], LABELS[ROWS])
  assert tested.temperature == pytest.approx(expected)
  assert run.passes == [("validation", 1), ("test", tested.temperature)]
  _assert_calibrated(tested, expected)
  assert capsys.readouterr().out == ""


def test_part_of_many_validation_images_fits_the_temperature(
  monkeypatch, capsys
):
  monkeypatch.setattr(calibration, "MOST_BYTES", 5 * 6 * 4)
  run = _Run()
  tested = final.test_epoch(run, None, make_row(2, 7, 1), guard=iter)
  some = [0, 2, 4, 7, 9]  # Evenly spread; all can be read.
  expected = calibration.fit_temperature(_logits()[some], LABELS[some])
  assert tested.temperature == pytest.approx(expected)
  divided = tested.temperature
  # The images were not there any more, so they are predicted once more.
  assert run.passes == [
    *(("validation", 1), ("validation", divided), ("test", divided))
  ]
  _assert_calibrated(tested, expected)
  assert capsys.readouterr().out == (
    "temperature of stage 2 epoch 7: fitted to 5 of the 8 validation images, "
    "evenly spread, as many as fit into memory\n"
  )


def test_no_temperature_is_said(monkeypatch, capsys):
  monkeypatch.setattr(calibration, "fit_temperature", lambda *args: None)
  tested = final.test_epoch(_Run(), None, make_row(1, 1, 1), guard=iter)
  assert tested.temperature == 1
  right = np.count_nonzero(tested.predictions["test"].correct)
  assert capsys.readouterr().out == (
    "temperature of stage 1 epoch 1: none fits the validation images, of which "
    f"{right} of 8 are right; probabilities stay as the network gives them\n"
  )


def _tested(row):
  found, _ = _predict()
  return final.Tested(row, 2.0, {"validation": found, "test": found})


def _finished(*, prior="", shares=None, five_crop=False):
  """What final.py takes of a run to sum it up: six classes, of 5 images."""
  counts = np.full(6, 5)
  splits = ("training", "validation", "test")
  dataset = types.SimpleNamespace(
    num_classes=6,
    class_names=tuple("abcdef"),
    counts=dict.fromkeys(splits, counts),
    validation=None,
    test=None,
  )
  limits = types.SimpleNamespace(
    many_above=100,
    few_up_to=20,
    name="some",
    prior=prior,
    five_crop=five_crop,
  )
  config = types.SimpleNamespace(method="blt", dataset=limits, seed=0)
  return types.SimpleNamespace(
    config=config,
    dataset=dataset,
    devices=[types.SimpleNamespace(device_kind="cpu")],
    class_counts=counts,
    target_shares=shares,
  )


def test_validation_that_is_not_what_it_was_is_said(capsys):
  row = make_row(2, 3, 1, val_many=np.nan, val_medium=np.nan)
  found = _tested(row)
  right = final.results(_finished(), {"best": found, "last": found})
  now = right["best"]["validation"]["overall"]
  assert right["best"] == right["last"]
  assert capsys.readouterr().out.startswith(
    "note: validation of stage 2 epoch 3 is not what it was after the epoch: "
    f"overall {row.val_overall:.2f} then, {now:.2f}, few "
  )
  # Five crops are another view than that after the epoch.
  other = final.results(
    _finished(five_crop=True), {"best": found, "last": found}
  )
  assert (right["five_crop"], other["five_crop"]) == (False, True)
  same = dataclasses.replace(row, val_overall=now, val_few=now)
  found = _tested(same)
  final.results(_finished(), {"best": found, "last": found})
  assert capsys.readouterr().out == ""


def test_prior_weighs_the_measures_and_the_scores_of_classes(tmp_path):
  shares = np.array([5, 1, 1, 1, 1, 1]) / 10
  found = _tested(make_row(1, 1, 1))
  both = {"best": found, "last": found}
  results = {}
  for prior, run in (
    ("", _finished()),
    ("shares.csv", _finished(prior="shares.csv", shares=shares)),
  ):
    results[prior] = final.results(run, both)
    assert results[prior]["prior"] == prior
    folder = tmp_path / f"run{prior}"
    folder.mkdir()
    final.write(run, folder, both)
    predictions = found.predictions["test"]
    scores = measures.class_scores(predictions, 6, shares=run.target_shares)
    text = (folder / "classes.csv").read_text()
    assert text == measures.classes_csv(scores, [*"abcdef"], run.dataset.counts)
  plain, weighted = (results[prior]["best"]["test"] for prior in results)
  right, label = predictions.correct, predictions.label
  each = shares[label] / np.bincount(label, minlength=6)[label]
  expected = 100 * np.average(right, weights=each)
  assert weighted["accuracy"] == pytest.approx(expected)
  assert plain["accuracy"] == pytest.approx(100 * right.mean())
  assert plain["overall"] == weighted["overall"]


def test_last_epoch_has_predictions_only_if_it_is_not_the_best(tmp_path):
  best, last = _tested(make_row(1, 1, 1)), _tested(make_row(1, 2, 2))
  run, folder = _finished(), tmp_path / "predictions"
  both = ["test-best", "test-last", "validation-best", "validation-last"]
  final.write(run, tmp_path, {"best": best, "last": last})
  assert sorted(path.stem for path in folder.iterdir()) == both
  final.write(run, tmp_path, {"best": best, "last": best})
  assert sorted(path.stem for path in folder.iterdir()) == both[::2]
  confusions = (tmp_path / "confusion").iterdir()
  assert sorted(path.stem for path in confusions) == both[:2]
