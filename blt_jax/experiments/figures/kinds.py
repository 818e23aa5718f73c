"""The figures of the experiments, by kind.

Each takes the runs of every setting and the paper's numbers and returns a
figure for `report.style.save`. None of them trains or touches pyplot.
"""

from blt_jax.experiments.figures.accuracy import accuracy
from blt_jax.experiments.figures.confusion import (
  confused_classes,
  confusion_rank,
)
from blt_jax.experiments.figures.flops import flops
from blt_jax.experiments.figures.gain import per_class_gain
from blt_jax.experiments.figures.images import images
from blt_jax.experiments.figures.parts import Draw

# Kind -> the function that draws it, of results: label -> a run for each seed,
# and paper: label -> numbers.
FIGURES: dict[str, Draw] = {
  "images": images,
  "confused_classes": confused_classes,
  "accuracy": accuracy,
  "per_class_gain": per_class_gain,
  "flops": flops,
  "confusion_rank": confusion_rank,
}
