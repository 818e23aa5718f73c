"""How frequent the classes are where the network is used: `dataset.prior`."""

import csv
import io
import math
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from blt_jax.config import Config, with_values
from blt_jax.data import sampling
from blt_jax.data.text import reason
from blt_jax.workdir import files

FILE = "prior.csv"
"""In a work directory: the shares of the CSV file that a run began with."""

_WORDS = ("", "natural", "balanced")
_HEADERS = "class,share or class,count"


def is_word(prior: str) -> bool:
  """Whether a `dataset.prior` is no file."""
  return prior in _WORDS


def target_shares(
  prior: str, *, class_names: Sequence[str], class_counts: np.ndarray
) -> np.ndarray | None:
  """The share of each class where the network is used.

  Args:
    prior: `dataset.prior`: "", "natural", "balanced", or a CSV file with the
      columns class and share, or class and count.
    class_names: [C].
    class_counts: int [C], training images of each class.

  Returns:
    float64 [C] that sums to 1: the frequencies of the training images for
    "natural", equal ones for "balanced", those of the file. None for "".

  Raises:
    ValueError: when the file can't be read, lacks a class or has another one,
      or a share is not above 0; names the file and the line or class.
  """
  if not prior:
    return None
  if prior == "natural":
    return sampling.class_probabilities(class_counts, 0.0)
  if prior == "balanced":
    return np.full(len(class_names), 1 / len(class_names))
  shares = _read(prior, class_names)
  return shares / shares.sum()


def record(
  workdir: pathlib.Path,
  prior: str,
  *,
  shares: np.ndarray,
  class_names: Sequence[str],
) -> None:
  """Keeps the shares of a CSV file in a work directory as a run begins.

  Args:
    workdir: of the run.
    prior: `dataset.prior`; other values than files are not kept.
    shares: float64 [C], what `target_shares` gives for it.
    class_names: [C].

  Raises:
    ValueError: they were kept before, and the file has changed since.
  """
  if is_word(prior):
    return
  path = workdir / FILE
  if not path.exists():
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("class", "share"))
    writer.writerows(zip(class_names, shares.tolist(), strict=True))
    files.write_text(path, text.getvalue())
    return
  kept = target_shares(str(path), class_names=class_names, class_counts=shares)
  assert kept is not None
  c = int(np.argmax(np.abs(np.log(kept / shares))))
  if not np.allclose(kept, shares, rtol=1e-9, atol=0):
    raise ValueError(
      f"config.dataset.prior={prior} gives class {class_names[c]!r} a share of "
      f"{shares[c]:.4g}; expected {kept[c]:.4g}, as when {workdir} began "
      f"({path}). Choose another --workdir, or bring the file back."
    )


def as_begun(workdir: pathlib.Path, config: Config) -> Config:
  """A run's configuration, with its own copy of the file of `dataset.prior`.

  The file itself may have changed since, or be gone.
  """
  path = workdir / FILE
  if is_word(config.dataset.prior) or not path.exists():
    return config
  return with_values(config, {"dataset.prior": str(path)})


def _read(file: str, class_names: Sequence[str]) -> np.ndarray:
  """The shares or counts in a file, float64 [C]."""
  from blt_jax.data.sources.class_names import shown_name  # Few runs have one.

  number = {shown_name(name): c for c, name in enumerate(class_names)}
  found: dict[int, float] = {}
  for place, name, cell in _rows(file):
    c = number.get(shown_name(name))
    if c is None:
      raise ValueError(
        f"{place}: class is {name!r}; expected one of the {len(class_names)} "
        f"classes of the data set, such as {class_names[0]!r}."
      )
    if c in found:
      raise ValueError(
        f"{place}: class {name!r} has a row before; expected one a class."
      )
    found[c] = _share(place, name, cell)
  lacking = [name for c, name in enumerate(class_names) if c not in found]
  if lacking:
    more = f" nor {len(lacking) - 1} more" if len(lacking) > 1 else ""
    raise ValueError(
      f"config.dataset.prior={file} has no row for class {lacking[0]!r}{more}; "
      f"expected one for each of the {len(class_names)} classes."
    )
  return np.array([found[c] for c in range(len(class_names))])


def _rows(file: str) -> list[tuple[str, str, str]]:
  """(where it stands, class, share or count) of each row."""
  from blt_jax.data.sources import table_files  # Few runs have a file.

  prefix = f"config.dataset.prior={file}"
  if not os.path.isfile(file):
    raise ValueError(
      f"{prefix}: there is no such file; expected natural, balanced, or a CSV "
      f"file with the columns {_HEADERS}."
    )
  try:
    text = table_files.read_text(file)
    reader = csv.reader(
      io.StringIO(text, newline=""),
      delimiter=table_files.find_delimiter(text),
      strict=True,
    )
    header = [name.strip() for name in next(reader, [])]
    if sorted(header) not in (["class", "share"], ["class", "count"]):
      raise ValueError(
        f"the first line is {','.join(header)[:80]!r}; expected {_HEADERS}"
      )
    column = header.index("class")
    rows = []
    for row in reader:
      if any(cell.strip() for cell in row):
        if len(row) != 2:
          raise ValueError(
            f"line {reader.line_num} has {len(row)} cells; expected 2"
          )
        place = f"{prefix}:{reader.line_num}"
        rows.append((place, row[column], row[1 - column]))
  except (ValueError, csv.Error) as error:
    raise ValueError(
      f"{prefix}: {reason(error).rstrip('.')}; expected natural, balanced, or "
      f"a CSV file with the columns {_HEADERS}."
    ) from None
  return rows


def _share(place: str, name: str, cell: str) -> float:
  try:
    share = float(cell)
  except ValueError:
    share = math.nan
  if not 0 < share < math.inf:
    raise ValueError(
      f"{place}: class {name!r} has {cell.strip()!r}; expected a number above "
      "0."
    )
  return share


def line(config: Config) -> str:
  """Says in one line what a prior that is given does."""
  model, prior = config.model, config.dataset.prior
  if model.loss in ("balanced_softmax", "logit_adjustment"):
    by = f"config.model.loss {model.loss} corrects"
  elif model.posthoc_tau:
    by = f"config.model.posthoc_tau {model.posthoc_tau:g} corrects"
  else:
    return (
      f"config.dataset.prior is {prior}: it weighs the measures alone; "
      f"config.model.loss {model.loss} does not correct for it, as "
      "balanced_softmax, logit_adjustment or config.model.posthoc_tau=1 would"
    )
  return (
    f"config.dataset.prior is {prior}: it weighs the measures, and {by} from "
    "the frequencies in training to it"
  )
