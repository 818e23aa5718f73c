"""--mode=evaluate: tests an epoch of a run."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from blt_jax.config import Config, check_used, with_values
from blt_jax.data.dataset import Dataset
from blt_jax.method.train_step import TrainState
from blt_jax.system import console
from blt_jax.training import build, lines
from blt_jax.training.run import Run
from blt_jax.workdir import checkpoint as checkpoints
from blt_jax.workdir import directory


def evaluate_run(
  workdir: pathlib.Path,
  *,
  checkpoint: str = "best",
  posthoc_taus: Sequence[float] = (),
  places: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
  """Tests an epoch of a run and prints its accuracies.

  Nothing is written.

  Args:
    workdir: work directory of a run with at least one finished epoch.
    checkpoint: "best" (by validation) or "last" epoch.
    posthoc_taus: values of `model.posthoc_tau` to evaluate with instead of the
      run's own; the accuracies on validation, which are to choose one by, are
      printed beside those on test.
    places: {field: value} of `config.PLACES`, where the images are now.

  Returns:
    {"overall", "many", "medium", "few", "top5"} on the test images, percent,
    for each tau, or once.

  Raises:
    ValueError: when the directory holds no run or no checkpoint, when the
      images are not there or not those of the run, or a tau does not go with
      the run's loss.
    FileNotFoundError: when none of the run's checkpoints can be read.
  """
  config = directory.read_config(workdir)
  config = with_values(config, places or {})
  check_used(config, places or {})
  for tau in posthoc_taus:  # Before the images are looked for.
    with_values(config, {"model.posthoc_tau": tau})
  run = Run(config, dataset=_images_of(workdir, config))
  template = run.state_shapes()
  arrays, row = checkpoints.read_epoch(
    workdir, template.arrays(), checkpoint=checkpoint
  )
  state = template.with_arrays(arrays)
  split = "" if posthoc_taus else ", test"
  console.say(
    f"stage {row.stage} epoch {row.epoch}, the {checkpoint} so far{split}:"
  )
  if posthoc_taus:
    return _evaluate_taus(run, state, posthoc_taus)
  tested = run.summary(run.evaluate(state, "test"))
  for title, values in (("top-1", tested), ("top-5", tested["top5"])):
    console.say(f"{title}  {lines.accuracies(values)}")
  return [tested]


def _images_of(workdir: pathlib.Path, config: Config) -> Dataset:
  """The images of a run.

  Raises:
    ValueError: when they can't be found, or are not those of the run.
  """
  moved = "If the images have moved, add --config.dataset.root=NEW."
  try:
    dataset = build.build_dataset(config)
  except ValueError as error:
    raise ValueError(
      f"images of --workdir={workdir}: {error} {moved}"
    ) from None
  directory.compare_classes(
    workdir,
    dataset.counts,
    dataset.class_names,
    remedy=f"{moved} To test on other labelled images, add --input=FOLDER.",
  )
  return dataset


def _evaluate_taus(
  run: Run, state: TrainState, taus: Sequence[float]
) -> list[dict[str, Any]]:
  """Prints validation and test accuracies of each tau; returns the latter."""
  validated, tested = (
    [run.summary(found) for found in run.evaluate_each(state, role, taus)]
    for role in ("validation", "test")
  )
  for tau, first, second in zip(taus, validated, tested, strict=True):
    console.say(f"tau {tau:<4g} validation  {lines.accuracies(first)}")
    console.say(f"         test        {lines.accuracies(second)}")
  return tested
