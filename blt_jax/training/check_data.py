r"""The mode check_data: checks every image of a configuration's data set.

    python main.py --mode=check_data --config=configs/imagenet_lt.py \
        --config.dataset.root=DIR --output=findings.csv

reads and decodes each image once and prints what the data set holds and what
is wrong with it. The command exits with 1 when a file can't be decoded, when
two splits share an image, when a class has no training image, or when the
counts contradict what is known of the data set (data/checks/facts.py). Images
that look the same as one of another split, groups that lie in two splits and
JPEG images with damaged pixels are warnings; odd formats, names and sizes and
copies inside a split are only noted. The last lines are the three most useful
things to do. --output names a CSV file for every finding and for the number of
training images of each class; it may be left out. Nothing is trained and no
device is used. Where a configuration has no test list or folder, its validation
images are the test as well; they count once and are no leak.

TensorFlow is used where there are JPEG images: it decodes them, to the same
pixels as Pillow, because what its libjpeg prints tells which have damaged
pixels (data/checks/damage.py), a warning. Where it is not installed, a line
says that these are not looked for. TFDS needs it as well.
"""

import errno
import functools
import os
import pathlib
import tempfile
import time

import ml_collections

from blt_jax.config import Config, check_config
from blt_jax.data.checks import facts, findings, lines, scan
from blt_jax.data.dataset import Dataset
from blt_jax.system import console, nameless_lines
from blt_jax.training import build, choose, stages


def check_data(
  config: ml_collections.ConfigDict | Config, output: str = ""
) -> int:
  """Checks the images of a configuration and prints the report.

  Args:
    config: a configuration, as get_config of configs/*.py gives it.
    output: CSV file for all findings; "" writes none.

  Raises:
    ValueError: for a configuration or a data set that can't be loaded, and
      when `output` can't be written.
  """
  config = check_config(config)
  if output:
    _check_output(output)  # Better now than after an hour of reading.
  dataset = build.build_dataset(config)
  for line in dataset.left_out:
    console.say(line)
  config, notes = choose.choose_reading(config, dataset.train)
  for line in notes:
    console.say(line)
  start = time.monotonic()
  progress = functools.partial(console.progress, title="checked", unit="image")
  with nameless_lines.Listener() as listener:
    scanned = scan.scan(
      dataset,
      decoding=build.decoding(config),
      progress=progress,
      listener=listener,
    )
  seconds = time.monotonic() - start
  groups = stages.shot_groups(config, dataset.class_counts)
  known, note = facts.compare(dataset, groups, config.dataset)
  report = findings.Report(
    dataset,
    scanned,
    groups,
    findings.find(scanned, _image_size(config, dataset)),
    facts=known,
    facts_note=note,
    seconds=seconds,
    advice=stages.notes(config, dataset),
  )
  console.say(lines.text(report, output))
  if output:
    lines.write_csv(report, output)
    console.say(f"all findings: {output}")
  return 1 if report.errors else 0


def _image_size(config: Config, dataset: Dataset) -> int:
  """Side of the images in training, pixels; 0 if no image says what to pick."""
  if config.dataset.image_size:
    return config.dataset.image_size
  try:
    sample = choose.sample(dataset.train)
  except ValueError:
    return 0  # The scan finds the same and names every image.
  config, weights, _ = choose.choose_weights(config, dataset)
  config, _ = choose.choose(config, sample, num_devices=1, weights=weights)
  return config.dataset.image_size


def _check_output(output: str) -> None:
  """Raises ValueError unless a file of that name can be written."""
  path = pathlib.Path(output)
  try:
    if path.is_dir():
      raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    with tempfile.TemporaryFile(dir=path.parent):
      pass
  except OSError as error:
    raise ValueError(
      f"--output={output} can't be written: {error.strerror}; expected a CSV "
      "file in an existing folder."
    ) from None
