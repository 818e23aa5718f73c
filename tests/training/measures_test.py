import csv
import io
import time
import tracemalloc

import numpy as np
import pytest
from sklearn import metrics as reference

from blt_jax.method import metrics
from blt_jax.training import calibration, measures

COUNTS = np.array([500, 200, 60, 30, 5, 2])
LIMITS = {"many_above": 100, "few_up_to": 20}
GROUPS = {"many": [0, 1], "medium": [2, 3], "few": [4, 5]}


def _made(label, num_classes, *, seed=0, sharpness=2.0, temperature=1.0):
  """(what is kept of random logits of images with these labels, logits)."""
  rng = np.random.default_rng(seed)
  label = np.asarray(label)
  logits = rng.normal(size=(len(label), num_classes)).astype(np.float32)
  logits[np.arange(len(label)), label] += 1
  logits *= sharpness
  ranked = np.argsort(-logits, axis=1)[:, :5]
  found = calibration.reduce(
    logits,
    row=np.arange(len(label)),
    label=label,
    prediction=ranked[:, 0],
    in_top5=(ranked == label[:, None]).any(axis=1),
    temperature=temperature,
  )
  return found, logits


@pytest.fixture(scope="module")
def made():
  label = np.repeat(np.arange(6), [40, 30, 20, 20, 10, 5])
  return _made(label, 6, temperature=2.0)


def _in(found, classes):
  return np.isin(found.label, classes)


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_of_classes_are_those_of_scikit_learn(made, weighted):
  found, logits = made
  shares = np.array([1, 2, 3, 4, 5, 6]) / 21 if weighted else None
  weights = measures.image_weights(found.label, shares)
  scores = measures.class_scores(found, 6, shares=shares)
  for name, score in (
    ("precision", reference.precision_score),
    ("recall", reference.recall_score),
    ("f1", reference.f1_score),
  ):
    expected = score(
      found.label,
      found.prediction,
      average=None,
      sample_weight=weights,
      zero_division=0,
    )
    np.testing.assert_allclose(getattr(scores, name), 100 * expected)
  for c in range(6):
    own = found.label == c
    wrong = found.prediction[own & ~found.correct]
    # Of six classes only the least likely is not among the five likeliest.
    in_top5 = logits[own].argmin(axis=1) != c
    np.testing.assert_allclose(scores.top5[c], 100 * in_top5.mean())
    counts = np.bincount(wrong, minlength=6)
    assert scores.confused_with[c] == (counts.argmax() if len(wrong) else -1)


@pytest.mark.parametrize("weighted", [False, True])
def test_measures_are_those_of_scikit_learn(made, weighted):
  found, logits = made
  shares = np.array([6, 5, 4, 3, 2, 1]) / 21 if weighted else None
  weights = measures.image_weights(found.label, shares)
  values = measures.measures(found, COUNTS, shares=shares, **LIMITS)
  true, predicted = found.label, found.prediction
  assert values["overall"] == pytest.approx(
    100 * reference.balanced_accuracy_score(true, predicted)
  )
  for name, classes in ({"all": range(6)} | GROUPS).items():
    part = values if name == "all" else values["groups"][name]
    some = _in(found, list(classes))
    w = weights[some]
    assert part["accuracy"] == pytest.approx(
      100
      * reference.accuracy_score(true[some], predicted[some], sample_weight=w)
    )
    for kind in ("macro", "weighted"):
      expected = reference.f1_score(
        true,
        predicted,
        labels=list(classes),
        average=kind,
        sample_weight=weights,
        zero_division=0,
      )
      assert part[f"{kind}_f1"] == pytest.approx(100 * expected)
    for of, divided, confidence in (
      (part, 1, found.confidence),
      (
        values["calibrated"]
        if name == "all"
        else values["calibrated"]["groups"][name],
        2,
        found.calibrated_confidence,
      ),
    ):
      z = logits.astype(np.float64) / divided
      chances = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
      loss = reference.log_loss(
        true[some], chances[some], labels=range(6), sample_weight=w
      )
      assert of["nll"] == pytest.approx(loss, rel=1e-5)
      np.testing.assert_allclose(confidence, chances.max(axis=1), rtol=1e-5)
      ece = metrics.calibration_error(
        confidence[some], found.correct[some], weights=w
      )
      assert of["ece"] == ece
  for name, classes in GROUPS.items():
    recalls = [found.correct[found.label == c].mean() for c in classes]
    assert values[name] == pytest.approx(100 * np.mean(recalls))
    low, high = values["interval"][name]
    assert low < values[name] < high


def test_prior_counts_like_copies_of_images():
  label = np.repeat([0, 1, 2], [2, 4, 4])
  found, _ = _made(label, 3)
  # Twice, once and three times as many: 4, 4 and 12 images.
  copies = np.repeat(np.arange(10), np.array([2, 1, 3])[label])
  copied = type(found)(**{k: v[copies] for k, v in vars(found).items()})
  shares = np.array([4, 4, 12]) / 20
  by_weight = measures.measures(found, COUNTS[:3], shares=shares, **LIMITS)
  by_copy = measures.measures(copied, COUNTS[:3], **LIMITS)
  for name in ("overall", "accuracy", "macro_f1", "weighted_f1", "nll", "ece"):
    assert by_weight[name] == pytest.approx(by_copy[name])
  plain = measures.measures(found, COUNTS[:3], **LIMITS)
  assert plain["accuracy"] != pytest.approx(by_weight["accuracy"])
  # Recalls and their intervals know no frequencies.
  for name in ("overall", "many", "top5", "interval"):
    np.testing.assert_equal(by_weight[name], plain[name])


def test_prior_without_any_class_that_has_images_is_refused():
  with pytest.raises(ValueError, match="prior gives a share of 0 to every"):
    measures.image_weights(np.array([0, 0]), np.array([0.0, 1.0]))


def test_class_without_images_has_no_part():
  found, _ = _made(np.repeat([0, 1, 4], 20), 6, sharpness=0.5)
  assert 5 in found.prediction  # Taken for a class without test images.
  scores = measures.class_scores(found, 6)
  for name in ("recall", "precision", "f1", "top5"):
    assert np.isnan(getattr(scores, name)).tolist() == [0, 0, 1, 1, 0, 1]
  values = measures.measures(found, COUNTS, **LIMITS)
  assert values["macro_f1"] == pytest.approx(
    100
    * reference.f1_score(
      found.label, found.prediction, labels=[0, 1, 4], average="macro"
    )
  )
  assert values["accuracy"] == pytest.approx(100 * found.correct.mean())
  medium = values["groups"]["medium"]
  assert np.isnan(list(medium.values())).all()
  assert np.isnan(values["interval"]["medium"]).all()
  assert np.isnan(values["calibrated"]["groups"]["medium"]["nll"])


def test_class_that_is_never_predicted_has_no_precision():
  found, _ = _made([0, 0, 1], 2)
  found = type(found)(**(vars(found) | {"prediction": np.int32([0, 0, 0])}))
  scores = measures.class_scores(found, 2)
  np.testing.assert_allclose(scores.precision, [200 / 3, np.nan])
  np.testing.assert_allclose(scores.f1, [80, 0])
  assert scores.confused_with.tolist() == [-1, 0]


def test_first_of_equally_confused_classes_is_named():
  found, _ = _made([0, 0, 0, 0, 0], 4)
  prediction = np.int32([3, 2, 3, 2, 1])
  found = type(found)(**(vars(found) | {"prediction": prediction}))
  assert measures.class_scores(found, 4).confused_with[0] == 2


@pytest.mark.parametrize(
  "test_counts, kind",
  [
    ([50] * 6, "balanced"),
    ([52, 50, 49, 50, 48, 51], "balanced"),
    (COUNTS // 2, "natural"),
    ([100, 50, 50, 30, 20, 10], "neither"),
    ([50, 50, 50, 50, 50, 0], "neither"),
  ],
)
def test_kind_of_a_test_set(test_counts, kind):
  test_counts = np.array(test_counts)
  found = measures.test_set(COUNTS, test_counts, is_validation=False)
  assert not found["is_validation"]
  assert found["kind"] == kind
  assert found["images"] == test_counts.sum()
  assert found["classes"] == np.count_nonzero(test_counts)
  share = test_counts / test_counts.sum()
  moved = np.maximum(share - COUNTS / COUNTS.sum(), 0).sum()
  assert found["from_natural"] == pytest.approx(moved)


NAMES = ("ant", 'b"e,e', "cat\rdog", "emu\nfox", "日本", "=1+1")


def test_classes_csv_has_the_scores_and_any_names(made):
  found, _ = made
  scores = measures.class_scores(found, 6)
  counts = {
    "training": COUNTS,
    "validation": np.arange(6),
    "test": scores.images,
  }
  text = measures.classes_csv(scores, NAMES, counts)
  rows = list(csv.DictReader(io.StringIO(text, newline="")))
  assert ",".join(rows[0]) == (
    "class,train,validation,test,recall,precision,f1,top5,confused_with"
  )
  assert tuple(row["class"] for row in rows) == NAMES
  for c, row in enumerate(rows):
    assert int(row["train"]) == COUNTS[c]
    assert int(row["validation"]) == c
    assert int(row["test"]) == scores.images[c]
    for name in ("recall", "precision", "f1", "top5"):
      assert float(row[name]) == pytest.approx(
        getattr(scores, name)[c], abs=0.0051
      )
    other = scores.confused_with[c]
    assert row["confused_with"] == (NAMES[other] if other >= 0 else "")


def test_what_is_not_known_is_empty_in_classes_csv():
  found, _ = _made([0, 0], 2)
  found = type(found)(**(vars(found) | {"prediction": found.label}))
  scores = measures.class_scores(found, 2)
  counts = dict.fromkeys(("training", "validation", "test"), np.array([2, 0]))
  lines = measures.classes_csv(scores, ("a", "b"), counts).splitlines()
  assert lines[1:] == ["a,2,2,2,100.00,100.00,100.00,100.00,", "b,0,0,0,,,,,"]


def test_measures_of_1000_classes_and_50000_images_are_quick():
  rng = np.random.default_rng(0)
  label = np.repeat(np.arange(1000), 50)
  prediction = np.where(rng.random(50000) < 0.5, label, rng.integers(0, 1000))
  confidence = rng.random(50000, np.float32)
  found = measures.Predictions(
    row=np.arange(50000, dtype=np.int32),
    label=label.astype(np.int32),
    prediction=prediction.astype(np.int32),
    in_top5=prediction == label,
    confidence=confidence,
    log_likelihood=np.log(confidence),
    calibrated_confidence=confidence,
    calibrated_log_likelihood=np.log(confidence),
  )
  counts = np.arange(1000)
  measures.class_scores(found, 1000)  # Imports scikit-learn.
  tracemalloc.start()
  start = time.process_time()
  measures.measures(found, counts, **LIMITS)
  seconds = time.process_time() - start
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert seconds < 15
  assert peak < 300e6
