"""The network that a command names."""

import pathlib
from collections.abc import Sequence

from blt_jax.deploy.model import TrainedModel


def network(
  mode: str,
  *,
  workdir: str | None,
  model: str,
  checkpoint: str | None,
  posthoc_taus: Sequence[float],
  calibrate: bool,
  pretrained: str | None = None,
) -> TrainedModel:
  """The network of --workdir or --model.

  Args:
    mode: --mode, for messages.
    workdir: --workdir, of a run.
    model: --model, of an export.
    checkpoint: --checkpoint, None where it is not given.
    posthoc_taus: --posthoc_tau.
    calibrate: --calibrate; without it the network has no temperature.
    pretrained: --config.model.pretrained, None where it is not given.

  Raises:
    ValueError: names a flag that is missing or that does not go with others, or
      what is wrong with the directory.
    FileNotFoundError: a run has no checkpoint that can be read.
    ImportError: a package is missing.
  """
  if bool(workdir) == bool(model):
    raise ValueError(
      f"--workdir and --model are {'both given' if model else 'missing'}; "
      f"--mode={mode} needs one of --workdir=DIR of a run and --model=DIR of "
      "an export."
    )
  if len(posthoc_taus) > 1 or (posthoc_taus and model):
    raise ValueError(
      f"--posthoc_tau={','.join(f'{tau:g}' for tau in posthoc_taus)}: expected "
      f"one value for --mode={mode}, and the --workdir of a run."
    )
  if model and checkpoint:
    raise ValueError(
      f"--checkpoint={checkpoint}: expected only with --workdir; an export, "
      f"--model={model}, holds one checkpoint."
    )
  if model and pretrained is not None:
    raise ValueError(
      f"--config.model.pretrained={pretrained}: expected only with --workdir; "
      f"an export, --model={model}, holds all weights."
    )
  if workdir:
    found = _of_run(
      workdir, checkpoint or "best", posthoc_taus, pretrained=pretrained
    )
  else:
    from blt_jax.deploy.formats import safetensors_file

    found = safetensors_file.read(pathlib.Path(model))
  return found if calibrate else found.uncalibrated()


def _of_run(
  workdir: str,
  checkpoint: str,
  posthoc_taus: Sequence[float],
  *,
  pretrained: str | None,
) -> TrainedModel:
  # What trains is slow to import, and not there where exports alone are used.
  from blt_jax.deploy.from_run import from_workdir

  return from_workdir(
    pathlib.Path(workdir),
    checkpoint=checkpoint,
    posthoc_tau=posthoc_taus[0] if posthoc_taus else None,
    pretrained=pretrained,
  )
