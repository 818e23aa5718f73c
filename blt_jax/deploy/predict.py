"""Classifies images that are no part of a data set: --mode=predict."""

import concurrent.futures
import contextlib
import csv
import itertools
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from blt_jax.data.reading import decode
from blt_jax.data.sources import image_files
from blt_jax.deploy.class_summary import ClassSummary
from blt_jax.deploy.model import TrainedModel
from blt_jax.system import console
from blt_jax.workdir import files

# Most classes that are written for an image.
_CLASSES = 5
# Images at a time on each device, or crops of images.
_BATCH_SIZE = 64
# What the column decision says.
KEPT, BELOW = "kept", "below min_confidence"


class Prediction(NamedTuple):
  """The likeliest classes of an image.

  Attributes:
    path: of the image.
    classes: int [k], the likeliest first.
    probabilities: float32 [k], softmax probabilities of these, 0..1.
    problem: why the image could not be read, or None. Where there is a problem,
      k is 0.
    logits: float32 [C], as `TrainedModel.mean_logits_fn` gives them: without
      the temperature.
  """

  path: str
  classes: np.ndarray
  probabilities: np.ndarray
  problem: str | None
  logits: np.ndarray


def predict(
  model: TrainedModel,
  source: str | os.PathLike,
  output: pathlib.Path,
  *,
  min_confidence: float | None = None,
) -> int:
  """Classifies the images of a file or folder and writes a CSV file.

  Its columns are path, class, probability, then class_1, probability_1 and so
  on for the five likeliest classes; with a `min_confidence` also decision,
  after probability. Probabilities are calibrated where the network has a
  temperature. Images are prepared as in an evaluation: resized, cut to the
  centre, normalised. Files that can't be read are named on stderr and have no
  row. At the end the console shows how many images each class has.

  Args:
    model: the network.
    source: an image file, or a folder whose images, and those of its
      subfolders, are taken in the order of their paths; the console names what
      is left out (see `image_files.find_images`).
    output: the CSV file, which appears when all images are done.
    min_confidence: 0..1. Where the probability, as the file has it, is lower,
      class is empty and decision is "below min_confidence" in place of "kept".

  Returns:
    The number of files that could not be read.

  Raises:
    ValueError: when there is no image, or the output can't be written or is
      one of the images.
  """
  paths = find_images(source)
  check_output(output, paths)
  summary = ClassSummary(model.class_names, min_confidence=min_confidence)
  with writing(output) as write_row:
    problems = _write(write_row, model, paths, summary)
  console.say(
    f"{len(paths) - problems} of {len(paths)} images classified: {output}"
  )
  console.say(f"probability: {model.description.calibration}")
  for line in summary.lines():
    console.say(line)
  return problems


@contextlib.contextmanager
def writing(output: pathlib.Path) -> Iterator[Callable[[list[str]], None]]:
  """Writes a CSV file, which appears at the end of the block.

  Yields:
    A function that writes a row.

  Raises:
    ValueError: the file can't be written.
  """
  try:
    output.parent.mkdir(parents=True, exist_ok=True)
    with (
      files.replacing(output) as unfinished,
      # The names of files need not be UTF-8; their bytes are kept.
      unfinished.open(
        "w", newline="", encoding="utf-8", errors="surrogateescape"
      ) as file,
    ):
      plain = csv.writer(file, lineterminator="\n")
      # Before Python 3.13 csv does not quote a carriage return, and readers
      # take one for the end of a row.
      quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

      def write_row(row: list[str]) -> None:
        (quoted if any("\r" in text for text in row) else plain).writerow(row)

      yield write_row
  except OSError as error:
    raise ValueError(
      f"--output={output} can't be written: {error.strerror}; expected a CSV "
      "file in a folder that can be written."
    ) from None


def check_output(output: pathlib.Path, paths: Sequence[str]) -> None:
  """Raises ValueError if writing would destroy something."""
  if not output.exists():
    return
  if not output.is_file():
    kind = "a folder" if output.is_dir() else "not an ordinary file"
    raise ValueError(f"--output={output} is {kind}; expected a file.")
  for path in paths:
    if os.path.basename(path) == output.name and output.samefile(path):
      raise ValueError(
        f"--output={output} is one of the images; expected a file for the "
        "predictions."
      )


def _write(
  write_row: Callable[[list[str]], None],
  model: TrainedModel,
  paths: Sequence[str],
  summary: ClassSummary,
) -> int:
  """Writes the rows; returns how many files could not be read."""
  problems = 0
  ranked = ranked_columns(len(model.class_names))
  decision = [] if summary.min_confidence is None else ["decision"]
  write_row(["path", "class", "probability", *decision, *ranked])
  for prediction in console.progress(
    predictions_of(model, paths), "predict", total=len(paths), unit="image"
  ):
    if prediction.problem is None:
      ranked = ranked_cells(prediction, model.class_names)
      name, probability = ranked[:2]
      # What is compared is the number that the file has.
      kept = summary.add(int(prediction.classes[0]), float(probability))
      if decision:
        decision = [KEPT if kept else BELOW]
      cells = [name if kept else "", probability, *decision]
      write_row([prediction.path, *cells, *ranked])
    else:
      problems += 1
      say_problem(prediction)
  return problems


def find_images(source: str | os.PathLike) -> list[str]:
  """The image file of a path, or the image files of a folder.

  Returns:
    Paths that begin with `source`, in order.

  Raises:
    ValueError: when there is no such file or no image in the folder, or a
      folder can't be read.
  """
  source = os.fspath(source)
  if os.path.isfile(source):
    return [source]
  if not os.path.isdir(source):
    raise ValueError(
      f"--input={source}: there is no such file or folder; expected images."
    )
  found = image_files.find_images(source)
  if not found.paths:
    there = "; ".join(found.lines()) or "it is empty"
    raise ValueError(
      f"--input={source}: no image in this folder ({there}); expected images."
    )
  for line in found.lines():
    console.say(line)
  return [os.path.join(source, path) for path in found.paths]


def predictions_of(
  model: TrainedModel, paths: Sequence[str]
) -> Iterator[Prediction]:
  """Classifies image files, batch by batch, on all devices."""
  devices = jax.local_devices()
  mesh = Mesh(np.array(devices), ("batch",))
  dealt = NamedSharding(mesh, PartitionSpec("batch"))
  count = min(_CLASSES, len(model.class_names))

  @jax.jit
  def likeliest(images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    logits = model.mean_logits_fn(model.normalize(images))
    probabilities = jax.nn.softmax(model.calibrate(logits))
    return logits, *jax.lax.top_k(probabilities, count)

  most = _BATCH_SIZE // model.description.views
  size = min(most, -(-len(paths) // len(devices))) * len(devices)
  for read in _batched(_read_all(model, paths), size):
    images = np.zeros((size, model.input_size, model.input_size, 3), np.uint8)
    good = [
      i for i, (_, image) in enumerate(read) if not isinstance(image, str)
    ]
    for i in good:
      images[i] = read[i][1]
    shown = jax.device_put(images, dealt)
    logits, probabilities, classes = jax.device_get(likeliest(shown))
    for i, (path, image) in enumerate(read):
      problem = image if isinstance(image, str) else None
      known = slice(0 if problem is not None else count)
      yield Prediction(
        path, classes[i, known], probabilities[i, known], problem, logits[i]
      )


def _read_all(
  model: TrainedModel, paths: Sequence[str]
) -> Iterator[tuple[str, np.ndarray | str]]:
  """(path, uint8 [s, s, 3] or why it can't be read) of each file, in order."""

  def read(path: str) -> np.ndarray | str:
    try:
      return model.read(path)
    except decode.ImageError as error:
      return str(error)
    except OSError as error:
      return error.strerror or type(error).__name__

  with concurrent.futures.ThreadPoolExecutor() as threads:
    # Some of the paths at a time, because images that are read wait in memory.
    for some in _batched(paths, 4 * _BATCH_SIZE):
      yield from zip(some, threads.map(read, some), strict=True)


def _batched(items: Iterable, size: int) -> Iterator[list]:
  """Lists of `size` items, the last of fewer."""
  iterator = iter(items)
  while batch := list(itertools.islice(iterator, size)):
    yield batch


def say_problem(prediction: Prediction) -> None:
  """Names a file that can't be read, on stderr."""
  print(f"left out: {prediction.path}: {prediction.problem}", file=sys.stderr)


def ranked_columns(num_classes: int) -> list[str]:
  """Names of the columns of `ranked_cells`."""
  ranks = range(1, min(_CLASSES, num_classes) + 1)
  return [name for k in ranks for name in (f"class_{k}", f"probability_{k}")]


def ranked_cells(
  prediction: Prediction, class_names: Sequence[str]
) -> list[str]:
  """The likeliest classes of an image, each with its probability."""
  return [
    text
    for c, p in zip(prediction.classes, prediction.probabilities, strict=True)
    for text in (class_names[c], f"{p:.6f}")
  ]
