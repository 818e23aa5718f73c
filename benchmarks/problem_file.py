"""The step benchmark's problem as a file that needs nothing but numpy.

So that both sides measure the same weights on the same images.
"""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

_SETTINGS = "settings"
_WEIGHT = "weight:"


@dataclasses.dataclass(frozen=True, eq=False)
class ProblemFile:
  """What a training step is measured on.

  Attributes:
    settings: plain JSON values. "backbone", "classifier", "alpha", "beta",
      "hidden" and "dtype" describe the network; "mean", "std", "flip",
      "rotation", "brightness", "contrast" and "saturation" the augmentation;
      "step_size", "max_steps" and "momentum" the ascent; "backbone_rate",
      "classifier_rate", "sgd_momentum" and "weight_decay" the optimizer.
    weights: the network by torchvision's names, "hidden.*" and "classifier.*"
      with it, float32, matrices as [outputs, inputs], kernels as OIHW.
    arrays: "image" uint8 [steps, B, h, w, 3], "label" int32 [steps, B],
      "source_image" uint8 [steps, H, h, w, 3], "source_label" int32 [steps, H],
      "used" bool [steps, H], "target" int32 [steps, H], "confidence" float32
      [steps, H], "class_counts" int64 [C], "confusion" int32 [C, C] and
      "logits" float32 [n, C], those of the first images of the first batch in
      inference mode and without augmentation.
  """

  settings: dict[str, Any]
  weights: dict[str, np.ndarray]
  arrays: dict[str, np.ndarray]

  def save(self, path: str | pathlib.Path) -> None:
    """Writes an .npz file; what is there is replaced."""
    content: dict[str, Any] = {_SETTINGS: np.array(json.dumps(self.settings))}
    content |= {_WEIGHT + name: value for name, value in self.weights.items()}
    with pathlib.Path(path).open("wb") as file:
      np.savez(file, allow_pickle=False, **content, **self.arrays)


def load(path: str | pathlib.Path) -> ProblemFile:
  """Reads what `ProblemFile.save` wrote.

  Raises:
    ValueError: if the file is no problem file.
  """
  with np.load(path, allow_pickle=False) as file:
    content = dict(file)
  if _SETTINGS not in content:
    raise ValueError(f"{path} is no problem file: it holds no {_SETTINGS!r}.")
  settings = json.loads(str(content.pop(_SETTINGS)))
  weights, arrays = {}, {}
  for name, value in content.items():
    if name.startswith(_WEIGHT):
      weights[name.removeprefix(_WEIGHT)] = value
    else:
      arrays[name] = value
  return ProblemFile(settings, weights, arrays)
