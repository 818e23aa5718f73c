"""Tests a network on labelled images that are no part of its data set."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from blt_jax.data.sources import USUAL_COLUMNS, Columns
from blt_jax.data.text import counted
from blt_jax.deploy import predict
from blt_jax.deploy.labelled import Labelled, find_labelled, without_images
from blt_jax.deploy.model import TrainedModel
from blt_jax.method import metrics
from blt_jax.system import console
from blt_jax.training import lines


class Tested(NamedTuple):
  """What a test on other images found.

  Attributes:
    accuracies: {"overall", "many", "medium", "few", "top5"} in percent, as a
      run's results have them.
    images: int [C], of each class that were tested.
    problems: files that could not be read.
  """

  accuracies: dict[str, Any]
  images: np.ndarray
  problems: int


def evaluate(
  model: TrainedModel,
  source: str | os.PathLike,
  *,
  output: pathlib.Path | None = None,
  root: str = "",
  columns: Columns = USUAL_COLUMNS,
  run_root: str = "",
) -> Tested:
  """Tests a network on the labelled images of a folder or table.

  The accuracies are means over classes, by the groups that the classes have in
  the training of the network. Files that can't be read are named on stderr and
  have no part in them.

  Args:
    model: the network.
    source: see `labelled.find_labelled`.
    output: a CSV file with a row for each image: path, label, class (which the
      network finds likeliest), probability, correct (1 or 0), and class_1,
      probability_1 and so on for the five likeliest classes. None writes none.
    root: folder that the paths of a table are relative to, "" for its own.
    columns: of a table.
    run_root: see `labelled.find_labelled`.

  Returns:
    What it found, which is also printed.

  Raises:
    ValueError: there is no image that can be read of a class that the network
      knows, or the output can't be written.
  """
  source = os.fspath(source)
  images = find_labelled(
    source, model.class_names, root=root, columns=columns, run_root=run_root
  )
  if output:
    predict.check_output(output, images.paths)
  for line in images.left_out:
    console.say(line)
  with predict.writing(output) if output else contextlib.nullcontext() as write:
    tested = _test(model, images, write)
    if not np.any(tested.images):
      raise ValueError(
        f"--input={source}: none of its {len(images.paths)} images can be "
        "read; expected one or more."
      )
  note = without_images(tested.images, model.class_names)
  if note:
    console.say(note)
  unread = f", {tested.problems} left out" if tested.problems else ""
  number = counted(int(tested.images.sum()), "image")
  console.say(
    f"{source}: {number} of {np.count_nonzero(tested.images)} classes{unread}; "
    "mean of per-class accuracies in percent:"
  )
  for title, values in (
    ("top-1", tested.accuracies),
    ("top-5", tested.accuracies["top5"]),
  ):
    console.say(f"{title}  {lines.accuracies(values)}")
  if output:
    console.say(f"a row for each image: {output}")
  return tested


def _test(
  model: TrainedModel,
  images: Labelled,
  write: Callable[[list[str]], None] | None,
) -> Tested:
  """Classifies the images; writes their rows, if there is a `write`."""
  names = model.class_names
  confusion = np.zeros((len(names), len(names)), np.int64)
  in_top5 = np.zeros(len(names), np.int64)
  problems = 0
  if write:
    ranked = predict.ranked_columns(len(names))
    write(["path", "label", "class", "probability", "correct", *ranked])
  predictions = console.progress(
    predict.predictions_of(model, images.paths),
    "evaluate",
    total=len(images.paths),
    unit="image",
  )
  for label, each in zip(images.labels.tolist(), predictions, strict=True):
    if each.problem is not None:
      problems += 1
      predict.say_problem(each)
      continue
    confusion[label, each.classes[0]] += 1
    in_top5[label] += label in each.classes
    if write:
      write(_row(each, names, label))
  return Tested(
    _accuracies(model, confusion, in_top5), confusion.sum(axis=1), problems
  )


def _row(
  prediction: predict.Prediction, names: Sequence[str], label: int
) -> list[str]:
  """The row of an image."""
  ranked = predict.ranked_cells(prediction, names)
  correct = str(int(prediction.classes[0] == label))
  return [prediction.path, names[label], *ranked[:2], correct, *ranked]


def _accuracies(
  model: TrainedModel, confusion: np.ndarray, in_top5: np.ndarray
) -> dict[str, Any]:
  """Top-1 by shot group, and top-5 under "top5", in percent."""
  about = model.description
  counts = np.asarray(about.class_counts)
  top5 = metrics.class_accuracies(in_top5, confusion.sum(axis=1))
  limits = {"many_above": about.many_above, "few_up_to": about.few_up_to}
  return {
    **metrics.shot_accuracies(confusion, counts, **limits),
    "top5": metrics.group_means(top5, counts, **limits),
  }
