"""Stops a run at the step whose loss, gradient or images are not finite."""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from blt_jax.data.dataset import Split
from blt_jax.data.sampling import EpochPlan
from blt_jax.system import processes
from blt_jax.workdir import files

# In the work directory: the step and its images.
FILE = "nonfinite.json"

# A hallucinated image with a larger pixel is named as the cause. Normalised
# pixels are below 10, and what the ascent adds is of the same size.
_PLAUSIBLE = 1e3


def check(
  metrics: Mapping[str, float],
  *,
  plan: EpochPlan,
  step: int,
  split: Split,
  workdir: pathlib.Path,
) -> None:
  """Refuses a step whose loss, gradient or images are not finite.

  Raises:
    FloatingPointError: names the step and whether its hallucinated images
      caused it.
  """
  wrong = [
    f"the {title} is {metrics[name]}"
    for name, title in (
      ("loss", "loss"),
      ("gradient_norm", "norm of the gradient"),
      ("largest_pixel", "largest pixel of its hallucinated images"),
    )
    if not math.isfinite(metrics[name])
  ]
  if not wrong:
    return
  caused = not metrics["largest_pixel"] <= _PLAUSIBLE
  hallucinated = int(metrics.get("hallucinated", 0))
  if caused:
    cause = (
      f"Its {hallucinated} hallucinated images caused it (their largest pixel "
      f"is {metrics['largest_pixel']:g}): try a lower config.perturb.step_size"
    )
  elif hallucinated:
    cause = (
      f"Its {hallucinated} hallucinated images did not cause it (their largest "
      f"pixel is {metrics['largest_pixel']:g}): try lower learning rates"
    )
  else:
    cause = "It has no hallucinated images: try lower learning rates"
  used = plan.sources[step][plan.used[step]]
  content = {
    "stage": plan.stage,
    "epoch": plan.epoch,
    "step_of_epoch": step + 1,
    "metrics": {name: str(value) for name, value in metrics.items()},
    "caused_by_hallucination": caused,
    "images": _named(split, plan.indices[step]),
    "hallucinated_from": _named(split, used),
  }
  if processes.is_first():
    files.write_json(workdir / FILE, content)
  raise FloatingPointError(
    f"stage {plan.stage} epoch {plan.epoch} step {step + 1} of {len(plan)}: "
    f"{' and '.join(wrong)}. {cause}, with another --workdir. {workdir / FILE} "
    "names the images of the step; the checkpoints before it are intact."
  )


def _named(split: Split, rows: np.ndarray) -> list[dict[str, Any]]:
  """Index, label and, where there is one, path of training images."""
  named = []
  for row in rows.tolist():
    image: dict[str, Any] = {"index": row, "label": int(split.labels[row])}
    if split.paths is not None:
      image["path"] = str(split.paths[row])
    named.append(image)
  return named
