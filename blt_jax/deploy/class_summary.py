"""How many images were taken for each class, and how surely."""

from collections.abc import Sequence

import numpy as np

from blt_jax.data.text import columns, padded, printable, shortened_apart

# Most classes that are listed, and most columns of a name.
_LISTED, _WIDTH = 20, 30
_HEADS = ("images", "mean probability")


class ClassSummary:
  """Counts predictions by their likeliest class.

  Attributes:
    min_confidence: the probability, 0..1, from which a class is given; None
      gives every class.
  """

  def __init__(
    self, class_names: Sequence[str], *, min_confidence: float | None
  ):
    """Starts with no prediction.

    Args:
      class_names: [C].
      min_confidence: see the attribute.
    """
    self.min_confidence = min_confidence
    self._names = class_names
    self._images = np.zeros(len(class_names), np.int64)
    self._probability = np.zeros(len(class_names))
    self._below = np.zeros(len(class_names), np.int64)

  def add(self, label: int, probability: float) -> bool:
    """Counts an image; returns whether its class is sure enough to be given."""
    threshold = self.min_confidence
    kept = threshold is None or probability >= threshold
    self._images[label] += 1
    self._probability[label] += probability
    self._below[label] += not kept
    return kept

  def lines(self) -> list[str]:
    """A table of the commonest classes, the commonest first, and their sum.

    "below" are those of a class's images whose probability is lower than
    `min_confidence`. There is no line where there is no image.
    """
    order = np.argsort(-self._images, kind="stable")
    order = order[self._images[order] > 0].tolist()
    if not order:
      return []
    shown, others = order[:_LISTED], order[_LISTED:]
    names = shortened_apart([printable(self._names[c]) for c in shown], _WIDTH)
    rows = [(name, [c]) for name, c in zip(names, shown, strict=True)]
    if others:
      rows.append((f"{len(others)} more", others))
    rows.append((f"all ({len(order)} of {len(self._names)} classes)", order))
    heads = list(_HEADS)
    if self.min_confidence is not None:
      heads.append(f"below {self.min_confidence:g}")
    width = max(columns(name) for name, _ in rows)
    return [
      padded("class", width) + "".join(f"  {head}" for head in heads),
      *(
        padded(name, width)
        + "".join(
          f"  {cell:>{len(head)}}"
          for cell, head in zip(self._cells(classes), heads, strict=False)
        )
        for name, classes in rows
      ),
    ]

  def _cells(self, classes: Sequence[int]) -> list[str]:
    """Images, mean probability, and images below, of some classes together."""
    images = self._images[classes].sum()
    mean = self._probability[classes].sum() / images
    return [f"{images}", f"{mean:.3f}", f"{self._below[classes].sum()}"]
