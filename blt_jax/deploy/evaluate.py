"""Tests a network on labelled images that are no part of its data set."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from blt_jax.data.sources import USUAL_COLUMNS, Columns
from blt_jax.data.text import counted, printable
from blt_jax.deploy import predict
from blt_jax.deploy.labelled import Labelled, find_labelled, without_images
from blt_jax.deploy.model import TrainedModel
from blt_jax.system import console
from blt_jax.training import calibration, lines, measures
from blt_jax.workdir import records


class Tested(NamedTuple):
  """What a test on other images found.

  Attributes:
    measures: what results.json of a run has of a split, see
      `measures.measures`.
    images: int [C], of each class that were tested.
    problems: files that could not be read.
  """

  measures: dict[str, Any]
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

  Classes are in the groups that they have in the training of the network. Files
  that can't be read are named on stderr and have no part in the measures.

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
    found = _classify(model, images, write)
    if not found:
      raise ValueError(
        f"--input={source}: none of its {len(images.paths)} images can be "
        "read; expected one or more."
      )
  tested = _tested(model, images, found)
  note = without_images(tested.images, model.class_names)
  if note:
    console.say(note)
  unread = f", {tested.problems} left out" if tested.problems else ""
  number = counted(int(tested.images.sum()), "image")
  console.say(
    f"{source}: {number} of {np.count_nonzero(tested.images)} classes{unread}; "
    "mean of per-class accuracies in percent:"
  )
  for line in _lines(model, tested):
    console.say(line)
  if output:
    probability = model.description.calibration
    console.say(f"a row for each image: {output}; probability: {probability}")
  return tested


def _classify(
  model: TrainedModel,
  images: Labelled,
  write: Callable[[list[str]], None] | None,
) -> list[records.Predictions]:
  """Classifies the images, and writes their rows if there is a `write`.

  Returns:
    What is kept of each image that can be read.
  """
  names = model.class_names
  if write:
    ranked = predict.ranked_columns(len(names))
    write(["path", "label", "class", "probability", "correct", *ranked])
  predictions = console.progress(
    predict.predictions_of(model, images.paths),
    "evaluate",
    total=len(images.paths),
    unit="image",
  )
  found = []
  for row, each in enumerate(predictions):
    label = int(images.labels[row])
    if each.problem is not None:
      predict.say_problem(each)
      continue
    kept = calibration.reduce(
      each.logits[None],
      row=np.array([row]),
      label=np.array([label]),
      prediction=each.classes[:1],
      in_top5=np.array([label in each.classes]),
      temperature=model.description.temperature,
    )
    found.append(kept)
    if write:
      write(_row(each, names, label))
  return found


def _row(
  prediction: predict.Prediction, names: Sequence[str], label: int
) -> list[str]:
  """The row of an image."""
  ranked = predict.ranked_cells(prediction, names)
  correct = str(int(prediction.classes[0] == label))
  return [prediction.path, names[label], *ranked[:2], correct, *ranked]


def _tested(
  model: TrainedModel, images: Labelled, found: Sequence[records.Predictions]
) -> Tested:
  """The measures of what was kept of each image."""
  about = model.description
  predictions = records.Predictions.joined(found)
  counts = np.asarray(about.class_counts)
  values = measures.measures(
    predictions,
    counts,
    shares=None if about.shares is None else np.asarray(about.shares),
    many_above=about.many_above,
    few_up_to=about.few_up_to,
  )
  tested = np.bincount(predictions.label, minlength=len(counts))
  return Tested(values, tested, len(images.paths) - len(predictions))


def _lines(model: TrainedModel, tested: Tested) -> list[str]:
  """The measures, and what they are of."""
  about = model.description
  kind = measures.test_set(
    np.asarray(about.class_counts), tested.images, is_validation=False
  )
  given = printable(about.prior)
  used = given if about.shares is not None else ""
  found = [
    *([lines.FIVE_CROP] if about.five_crop else []),
    *lines.measure_lines(tested.measures, about.temperature),
    # Classes without images have been named.
    *lines.test_set_lines(
      kind,
      tested.measures["accuracy"],
      num_classes=kind["classes"],
      prior=used,
    ),
    *lines.prior_lines(used),
  ]
  if about.shares is not None and not tested.images.all():
    covered = float(np.asarray(about.shares)[tested.images > 0].sum())
    found.append(
      f"note: of the prior's shares {100 * covered:.1f} % are of classes with "
      "images here: these count as 100 %"
    )
  if given and about.shares is None:
    found.append(
      f"note: the training's dataset.prior, {given}, plays no part, as it is "
      "gone: the measures are for classes as frequent as among these images"
    )
  return found
