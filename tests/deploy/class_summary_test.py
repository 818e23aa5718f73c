"""The table of predicted classes."""

from blt_jax.deploy.class_summary import ClassSummary


def test_the_commonest_class_is_first_with_its_mean_and_what_is_below():
  summary = ClassSummary(["cat", "dog", "elk"], min_confidence=0.6)
  kept = [
    summary.add(label, probability)
    for label, probability in ((2, 0.5), (0, 0.6), (2, 0.9), (2, 0.3))
  ]
  assert kept == [False, True, True, False]
  assert summary.lines() == [
    "class                 images  mean probability  below 0.6",
    "elk                        3             0.567          2",
    "cat                        1             0.600          0",
    "all (2 of 3 classes)       4             0.575          2",
  ]


def test_without_a_threshold_everything_is_kept():
  summary = ClassSummary(["cat"], min_confidence=None)
  assert summary.add(0, 0.01)
  assert summary.lines() == [
    "class                 images  mean probability",
    "cat                        1             0.010",
    "all (1 of 1 classes)       1             0.010",
  ]


def test_many_classes_and_long_names_are_cut():
  names = [f"a very long name of the species number {n}" for n in range(30)]
  summary = ClassSummary(names, min_confidence=0.5)
  for label in range(25):
    for _ in range(25 - label):
      summary.add(label, 0.25)
  lines = summary.lines()
  assert len(lines) == 1 + 20 + 2
  assert len({len(line) for line in lines}) == 1
  assert max(map(len, lines)) < 80
  assert lines[1].split("  ")[0].endswith("number 0")
  assert len({line[:30] for line in lines[1:21]}) == 20
  assert lines[-2].split() == ["5", "more", "15", "0.250", "15"]
  assert lines[-1].split()[-3:] == ["325", "0.250", "325"]


def test_without_an_image_there_is_no_table():
  assert ClassSummary(["cat"], min_confidence=None).lines() == []


def test_names_stay_on_one_line():
  summary = ClassSummary(["a\nb\x1b[31m"], min_confidence=None)
  summary.add(0, 1.0)
  assert summary.lines()[1].startswith("a?b?[31m ")
