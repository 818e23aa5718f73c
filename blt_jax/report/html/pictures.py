"""Examples of perturbed images as they stand in a report."""

import base64
import io

import numpy as np
from PIL import Image

from blt_jax.report.html.markup import Markup, tag
from blt_jax.report.record import RunRecord
from blt_jax.workdir.records import Examples

# Factors a perturbation is multiplied by to be seen.
_FACTORS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)

# Images with a longer side than this are written as JPEG.
_LARGE = 64

# Below this side, pixels are shown as squares.
_COARSE = 100


def amplification(difference: np.ndarray) -> int:
  """The factor that makes a perturbation fill the range from black to white.

  Args:
    difference: float [h, w, 3], perturbed minus original, in 0..1 units.

  Returns:
    The largest factor of 1, 2, 3, 5, 10, ... 1000 that takes 99 % of the values
    into -0.5..0.5; 1 where none does, and 0 for no difference at all.
  """
  if not difference.any():
    return 0
  size = float(np.quantile(np.abs(difference), 0.99))
  fitting = [factor for factor in _FACTORS if factor * size <= 0.5]
  return fitting[-1] if fitting else _FACTORS[0]


def data_uri(pixels: np.ndarray) -> str:
  """An image in an address of its own.

  Args:
    pixels: float [h, w, 3], clipped to 0..1.

  Returns:
    "data:image/png;base64,...", or JPEG for what is no thumbnail.
  """
  image = Image.fromarray(np.uint8(np.rint(255 * np.clip(pixels, 0, 1))))
  kind = "jpeg" if max(image.size) > _LARGE else "png"
  file = io.BytesIO()
  image.save(file, kind, quality=85, optimize=True)
  content = base64.b64encode(file.getvalue()).decode()
  return f"data:image/{kind};base64,{content}"


def wall(run: RunRecord, *, limit: int) -> Markup | None:
  """Original, amplified perturbation and result of examples, by class size.

  Args:
    run: a run.
    limit: most examples to show.

  Returns:
    The examples, or None if there are none.
  """
  examples = run.examples
  if examples is None or not len(examples):
    return None
  shown = np.arange(min(len(examples), limit))
  sizes = run.class_counts[examples.label[shown]]
  order = np.lexsort((examples.label[shown], sizes))
  cards = [_card(run, examples, int(i)) for i in shown[order]]
  return tag("div", *cards, class_="wall")


def _card(run: RunRecord, examples: Examples, i: int) -> Markup:
  """One example."""
  name = run.class_names[examples.label[i]]
  target = run.class_names[examples.target[i]]
  original, perturbed = examples.original[i], examples.perturbed[i]
  factor = amplification(perturbed - original)
  scaled = 0.5 + factor * (perturbed - original)
  change = f"change × {factor}" if factor else "no change"
  pictures = (
    (original, "original", f"Image of {name}"),
    (scaled, change, f"{change.capitalize()}, grey where nothing changes"),
    (perturbed, "result", f"The same, moved towards {target}"),
  )
  return tag(
    "figure",
    tag("div", *(_picture(*picture) for picture in pictures), class_="triple"),
    tag(
      "figcaption",
      tag("p", tag("b", name), " towards ", tag("b", target)),
      tag("p", _caption(examples, i)),
    ),
    class_="example",
  )


def _picture(pixels: np.ndarray, caption: str, alternative: str) -> Markup:
  height, width, _ = pixels.shape
  return tag(
    "span",
    tag(
      "img",
      src=data_uri(pixels),
      alt=alternative,
      width=width,
      height=height,
      class_="coarse" if max(height, width) < _COARSE else None,
    ),
    tag("small", caption),
  )


def _caption(examples: Examples, i: int) -> str:
  """Confidence before and after, the goal, and the number of updates."""
  updates = int(examples.num_updates[i])
  unit = "update" if updates == 1 else "updates"
  outcome = "reached" if examples.reached[i] else "not reached"
  before, after, goal = (
    f"{100 * values[i]:.1f}\u00a0%"
    for values in (examples.before, examples.after, examples.confidence)
  )
  return f"{before} → {after} · goal {goal} {outcome} · {updates}\u00a0{unit}"
