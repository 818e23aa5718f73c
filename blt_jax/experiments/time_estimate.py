"""What runs cost: images to train on, and the time that these take."""

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Sequence

import numpy as np

from blt_jax.config import Config, StageConfig
from blt_jax.data import sampling
from blt_jax.experiments.plan import PlannedRun
from blt_jax.experiments.protocols import Protocol
from blt_jax.system import console
from blt_jax.training import build
from blt_jax.training.stages import tail_classes
from blt_jax.workdir import directory, records


@dataclasses.dataclass(frozen=True)
class Cost:
  """Of one run or of several.

  Attributes:
    images: real training images.
    hallucinated: images to hallucinate, at most (a class that is never confused
      needs none); None where the class counts are not known.
    seconds: of the runs with something comparable that was measured.
    unmeasured: the other runs.
  """

  images: int
  hallucinated: int | None
  seconds: float
  unmeasured: int = 0

  def __add__(self, other: "Cost") -> "Cost":
    known = self.hallucinated is not None and other.hallucinated is not None
    return Cost(
      self.images + other.images,
      (self.hallucinated or 0) + (other.hallucinated or 0) if known else None,
      self.seconds + other.seconds,
      self.unmeasured + other.unmeasured,
    )

  def __str__(self) -> str:
    """The cost in words."""
    extra = "hallucinations unknown without the data"
    if self.hallucinated is not None:
      extra = f"up to {self.hallucinated:,} hallucinated"
    time = f"about {console.duration(self.seconds)}"
    if self.unmeasured and not self.seconds:
      time = "time unknown until a run with the same backbone is finished"
    elif self.unmeasured:
      time += f" and {self.unmeasured} runs of unknown time"
    return f"{self.images:,} images, {extra}, {time}"


NOTHING = Cost(0, 0, 0.0)


class Costs:
  """Estimates costs of the runs on a data set."""

  def __init__(self, protocol: Protocol, folder: pathlib.Path):
    """Looks at what was measured in a folder of runs."""
    self._protocol = protocol
    self._speeds = measured_speeds(folder)
    self._class_counts: dict[str, np.ndarray | None] = {}

  def of(self, run: PlannedRun, *, stage1: bool) -> Cost:
    """The cost of a run, whether it trains stage 1 itself or not."""
    config = run.config
    counts = self._counts(config)
    images, hallucinated = 0, 0.0
    for section in (config.stage1, config.stage2)[0 if stage1 else 1 :]:
      total = self._protocol.images if counts is None else int(counts.sum())
      steps = total // section.batch_size
      images += section.epochs * steps * section.batch_size
      epochs = max(0, section.epochs - config.perturb.start_epoch + 1)
      if section.perturb and counts is not None:
        hallucinated += epochs * steps * per_batch(config, section, counts)
    speed = self._speed(config)
    return Cost(
      images,
      None if counts is None else round(hallucinated),
      images * (speed or 0.0),
      unmeasured=int(speed is None),
    )

  def _counts(self, config: Config) -> np.ndarray | None:
    """Training images of each class; None where the data are not at hand."""
    key = json.dumps(dataclasses.asdict(config.dataset))
    if key not in self._class_counts:
      try:
        counts = build.build_dataset(config).class_counts
      except (ValueError, OSError, ImportError):
        if not self._protocol.images:
          raise
        counts = None
      self._class_counts[key] = counts
    return self._class_counts[key]

  def _speed(self, config: Config) -> float | None:
    """Seconds an image: the same method's, or else the same backbone's."""
    backbone = config.model.backbone
    every_method = self._speeds.get((backbone, ""))
    return self._speeds.get((backbone, config.method), every_method)


def per_batch(
  config: Config,
  section: StageConfig,
  class_counts: np.ndarray,
) -> float:
  """Expected hallucinations of a batch: E[ceil(p L)], L ~ Binomial(B, tail).

  Args:
    config: of the run.
    section: of the stage.
    class_counts: int [C], training images of each class.
  """
  from scipy.special import bdtr  # scipy takes long to import.

  gamma = section.gamma if section.balanced else 0.0
  drawn = sampling.class_probabilities(class_counts, gamma)
  tail = tail_classes(config, class_counts)
  share = min(float(drawn[tail].sum()), 1.0)
  draws = np.arange(section.batch_size + 1)
  probabilities = np.diff(
    bdtr(draws.astype(float), section.batch_size, share), prepend=0.0
  )
  images = sampling.num_hallucinations(
    draws, config.perturb.p, rounding=config.perturb.rounding
  )
  return float(np.sum(probabilities * images))


def measured_speeds(folder: pathlib.Path) -> dict[tuple[str, str], float]:
  """Median seconds an image of the finished runs in a folder.

  Everything counts that a run does between its configuration and its results:
  compiling, validation and tests, too.

  Returns:
    {(backbone, method): seconds}, with "" for all methods of a backbone.
  """
  speeds: dict[tuple[str, str], list[float]] = {}
  for path in sorted(folder.glob(f"*/{directory.RESULTS}")):
    config = directory.read_config(path.parent)
    speed = _seconds_an_image(path.parent, config)
    if speed is not None:
      for method in (config.method, ""):
        speeds.setdefault((config.model.backbone, method), []).append(speed)
  return {key: statistics.median(values) for key, values in speeds.items()}


def total(costs: Sequence[Cost]) -> Cost:
  """The sum of costs."""
  return sum(costs, start=NOTHING)


def _seconds_an_image(workdir: pathlib.Path, config: Config) -> float | None:
  """Of the stages that a run trained itself."""
  rows = [
    row
    for row in records.read_metrics(workdir)
    if row.stage != 1 or not config.stage1.reuse
  ]
  seconds = sum(row.seconds for row in rows)
  images = sum(row.images_per_second * row.seconds for row in rows)
  # Files that were copied have lost their times.
  first, last = (
    (workdir / name).stat().st_mtime
    for name in (directory.CONFIG, directory.RESULTS)
  )
  return max(seconds, last - first) / images if images else None
