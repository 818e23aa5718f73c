"""--mode=evaluate: tests an epoch of a run."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from blt_jax.config import GIVEN, Config, check_used, with_values
from blt_jax.data.dataset import Dataset
from blt_jax.method.train_step import TrainState
from blt_jax.system import console
from blt_jax.training import build, lines, measures, prior, splits_file
from blt_jax.training.run import Run
from blt_jax.training.stages import shot_limits
from blt_jax.workdir import checkpoint as checkpoints
from blt_jax.workdir import directory
from blt_jax.workdir.progress import EpochRow


def evaluate_run(
  workdir: pathlib.Path,
  *,
  checkpoint: str = "best",
  posthoc_taus: Sequence[float] = (),
  places: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
  """Tests an epoch of a run and prints its measures.

  Nothing is written.

  Args:
    workdir: work directory of a run with at least one finished epoch.
    checkpoint: "best" (by validation) or "last" epoch.
    posthoc_taus: values of `model.posthoc_tau` to evaluate with instead of the
      run's own; the accuracies on validation, which are to choose one by, are
      printed beside those on test.
    places: {field: value} of `config.PLACES`, where the images and weights are
      now, and of `dataset.prior` and `dataset.five_crop`, if not those of the
      run.

  Returns:
    What `measures.measures` gives for the test images, once; with taus only
    {"overall", "many", "medium", "few", "top5"}, percent, for each.

  Raises:
    ValueError: when the directory holds no run or no checkpoint, when the
      images are not there or not those of the run, or a tau does not go with
      the run's loss.
    FileNotFoundError: when none of the run's checkpoints can be read.
  """
  own = directory.read_config(workdir)
  _check_named(workdir, own)
  config = with_values(prior.as_begun(workdir, own), places or {})
  check_used(config, places or {})
  if "model.pretrained" in (places or {}):
    from blt_jax.config import trained  # Few runs need it.

    trained.check_file_is_needed(config.model)
  for tau in posthoc_taus:  # Before the images are looked for.
    with_values(config, {"model.posthoc_tau": tau})
  run = Run(config, dataset=_images_of(workdir, config))
  template = run.state_shapes()
  arrays, row = checkpoints.read_epoch(
    workdir, template.arrays(), checkpoint=checkpoint
  )
  state = build.restored(config, template, arrays)
  split = "" if posthoc_taus else ", test"
  console.say(
    f"stage {row.stage} epoch {row.epoch}, the {checkpoint} so far{split}:"
  )
  if config.dataset.five_crop:
    console.say(lines.FIVE_CROP)
  if posthoc_taus:
    return _evaluate_taus(run, state, row.stage, posthoc_taus)
  temperature = _temperature(
    workdir, checkpoint, row, five_crop=config.dataset.five_crop
  )
  return [_test(run, state, row.stage, temperature)]


def _check_named(workdir: pathlib.Path, config: Config) -> None:
  """Refuses a run whose images or network only its program knows."""
  handed_in = [
    what
    for what, name in (
      ("images", config.dataset.source),
      ("network", config.model.backbone),
    )
    if name == GIVEN
  ]
  if handed_in:
    raise ValueError(
      f"a program handed in the {' and the '.join(handed_in)} of "
      f"--workdir={workdir}, and --mode=evaluate does not have them. "
      "results.json has the test of the run; expected --input=LABELLED images "
      "for a network of blt_jax, or blt_jax.load in a program."
    )


def _test(
  run: Run, state: TrainState, stage: int, temperature: float | None
) -> dict[str, Any]:
  """Prints and returns the measures of the test images."""
  predictions, _ = run.predict(
    state, "test", stage=stage, temperature=temperature or 1.0
  )
  tested = measures.measures(
    predictions,
    run.class_counts,
    shares=run.target_shares,
    **shot_limits(run.config),
  )
  about = measures.test_set(
    run.class_counts,
    run.dataset.counts["test"],
    is_validation=run.dataset.test is run.dataset.validation,
  )
  prior_given = run.config.dataset.prior
  found = (
    *lines.measure_lines(tested, temperature),
    *lines.test_set_lines(
      about,
      tested["accuracy"],
      num_classes=run.dataset.num_classes,
      prior=prior_given,
    ),
    *lines.prior_lines(prior_given),
  )
  for line in found:
    console.say(line)
  return tested


def _temperature(
  workdir: pathlib.Path, checkpoint: str, row: EpochRow, *, five_crop: bool
) -> float | None:
  """The temperature of an epoch; None, and a line why, where none fits.

  Args:
    workdir: of the run.
    checkpoint: "best" or "last".
    row: the epoch that is tested.
    five_crop: whether it is tested on five crops of an image.
  """
  found = (directory.read_results(workdir) or {}).get(checkpoint)
  if not found or (found["stage"], found["epoch"]) != (row.stage, row.epoch):
    console.say(
      "note: the run has not ended yet, or with another epoch: there is no "
      "temperature that was fitted to this one"
    )
    return None
  own = directory.read_config(workdir).dataset.five_crop
  if five_crop != own:
    console.say(
      "note: the run's temperature was fitted to logits under "
      f"config.dataset.five_crop {own} and is not used"
    )
    return None
  return found["temperature"]


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
  splits_file.compare(workdir, config, dataset)
  return dataset


def _evaluate_taus(
  run: Run, state: TrainState, stage: int, taus: Sequence[float]
) -> list[dict[str, Any]]:
  """Prints validation and test accuracies of each tau; returns the latter."""
  validated, tested = (
    [
      run.summary(found)
      for found in run.evaluate_each(state, role, stage=stage, taus=taus)
    ]
    for role in ("validation", "test")
  )
  for tau, first, second in zip(taus, validated, tested, strict=True):
    console.say(f"tau {tau:<4g} validation  {lines.accuracies(first)}")
    console.say(f"         test        {lines.accuracies(second)}")
  return tested
