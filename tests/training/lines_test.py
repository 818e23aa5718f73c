import math

from blt_jax.method.metrics import GROUPS
from blt_jax.training import lines

NAN = math.nan
VALUES = {
  **dict(zip(GROUPS, (60.0, 70.0, NAN, None), strict=True)),
  "top5": dict.fromkeys(GROUPS, 90.0),
  "interval": {
    "overall": [55.04, 65.06],
    "many": [70.0, 70.0],
    "medium": [NAN, NAN],
    "few": [None, None],
  },
  "macro_f1": 58.0,
  "weighted_f1": 59.0,
  "accuracy": 64.0,
  "nll": 1.25,
  "ece": 0.125,
  "calibrated": {"nll": 1.0, "ece": 0.0256},
}


def test_measures_have_a_line_for_each_kind():
  assert lines.measure_lines(VALUES, 1.5) == [
    "top-1  overall 60.0 many 70.0 medium - few -",
    "95 %   overall 55.0-65.1 many 70.0-70.0 medium - few -",
    "top-5  overall 90.0 many 90.0 medium 90.0 few 90.0",
    "macro F1 58.0, weighted F1 59.0, accuracy over images 64.0",
    "calibration: ECE 0.125, with temperature 1.5 (from validation) 0.026; "
    "negative log-likelihood 1.250, with it 1.000",
  ]


def test_without_a_temperature_nothing_is_calibrated():
  for temperature in (None, 1.0):
    assert lines.measure_lines(VALUES, temperature)[-1] == (
      "calibration: ECE 0.125, no temperature; negative log-likelihood 1.250"
    )


def _about(kind, prior="", **changes):
  test_set = {"kind": kind, "images": 200, "classes": 10}
  test_set = {**test_set, "is_validation": False, **changes}
  return lines.test_set_lines(test_set, 64.04, num_classes=10, prior=prior)


def test_kind_of_the_test_set_says_what_overall_means():
  assert _about("balanced") == [
    "test set: balanced, 200 images: overall is about the share of images that "
    "are right, 64.0 %"
  ]
  assert _about("natural") == [
    "test set: natural, 200 images: overall counts classes alike; of the "
    "images 64.0 % are right"
  ]
  assert _about("neither")[0].startswith(
    "test set: neither balanced nor natural, 200 images: overall counts classes"
  )


def test_what_a_test_set_lacks_is_said():
  assert _about("neither", classes=7, is_validation=True)[1:] == [
    "note: 3 of 10 classes have no test image, and no part in the measures",
    "note: the test images are the validation images: the best epoch and the "
    "temperature were chosen on them",
  ]


def test_prior_is_named():
  assert _about("balanced", prior="natural") == [
    "test set: balanced, 200 images: overall counts classes alike; weighed as "
    "the prior says, 64.0 % of the images are right"
  ]
  assert lines.prior_lines("") == []
  (line,) = lines.prior_lines("natural")
  assert line.startswith("prior natural: F1, accuracy over images,")
