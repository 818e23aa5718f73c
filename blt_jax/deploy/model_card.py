"""The README.md of an exported network."""

import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from blt_jax.config import GIVEN
from blt_jax.data import longtail
from blt_jax.data.text import printable
from blt_jax.deploy.description import Description
from blt_jax.method.metrics import GROUPS
from blt_jax.training.lines import prior_lines, test_set_lines
from blt_jax.workdir import files

FILE = "README.md"
FIGURES = "figures"

# How to use what a format wrote, if its file is there. `images` are uint8.
_USES = {
  "model.safetensors": (
    "With blt_jax",
    """\
import blt_jax

logits = blt_jax.load(".").logits(images)""",
  ),
  "uint8.jaxexport": (
    "With JAX alone",
    """\
import jax.export

with open("uint8.jaxexport", "rb") as file:
  program = jax.export.deserialize(bytearray(file.read()))
logits = np.asarray(program.call(images))""",
  ),
  "savedmodel": (
    "With TensorFlow",
    """\
import tensorflow as tf

model = tf.saved_model.load("savedmodel")
classify = model.signatures["serving_default"]
logits = classify(images=tf.constant(images))["logits"].numpy()""",
  ),
  "model.onnx": (
    "With ONNX Runtime",
    """\
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(["logits"], {"images": images})""",
  ),
}

# The names of more classes would fill a page.
_MOST_NAMES = 100


def write(
  about: Description,
  folder: pathlib.Path,
  *,
  workdir: pathlib.Path | None = None,
) -> None:
  """Writes README.md, and figures/ when the run is at hand."""
  # The run's figures show what it measured, so they stand beside accuracies.
  measured = workdir if about.accuracy else None
  pictures = _write_figures(measured, folder) if measured else []
  if not pictures and (folder / FIGURES).is_dir():
    pictures = sorted(path.name for path in (folder / FIGURES).glob("*.png"))
  sections = [
    _title(about),
    _accuracy(about),
    _probabilities(about, folder),
    *([_pictures(pictures)] if pictures else []),
    _use(about, folder),
    _classes(about),
    _training(about),
  ]
  files.write_text(folder / FILE, "\n\n".join(sections) + "\n")


def _write_figures(workdir: pathlib.Path, folder: pathlib.Path) -> list[str]:
  from blt_jax.report import figures

  figures.write_figures(figures.drawings_of(workdir), folder / FIGURES)
  return sorted(path.name for path in (folder / FIGURES).glob("*.png"))


def _title(about: Description) -> str:
  which = "best by validation" if about.checkpoint == "best" else "last"
  kind = about.classifier.replace("_", "-")
  layer = f"a layer of {about.hidden}, " if about.hidden else ""
  title = about.backbone
  network = f"{title}, {layer}a {kind} classifier"
  if about.backbone == GIVEN:
    title, network = "A network", "a network of the program that trained it"
  return (
    f"# {title} for {about.dataset}\n\n"
    f"An image classifier of {len(about.class_names)} classes, trained on "
    f"long-tailed data by blt_jax {about.blt_jax} with the method "
    f"`{about.method}`: {network}. The weights are those after stage "
    f"{about.stage} epoch {about.epoch}, the {which}."
  )


def _accuracy(about: Description) -> str:
  """Accuracies by shot group, and what the groups are."""
  if not about.accuracy:
    return (
      "## Accuracy\n\nNot measured: the logits are adjusted by another "
      "posthoc_tau than the run's own."
    )
  counts = np.asarray(about.class_counts)
  groups = longtail.shot_groups(
    counts, many_above=about.many_above, few_up_to=about.few_up_to
  )
  lines = [
    "## Accuracy",
    "",
    "Mean of the classes' accuracies, and of their F1 (macro F1), in percent. "
    f"many: more than {about.many_above} training images; few: "
    f"{about.few_up_to} or fewer.",
    "",
    f"| images | {' | '.join(GROUPS)} | macro F1 |",
    f"|---|{'---|' * len(GROUPS)}---|",
  ]
  for split, values in about.accuracy.items():
    lines += _rows(split, values)
  sizes = ", ".join(f"{n} {int(mask.sum())}" for n, mask in groups.items())
  lines += [
    "",
    f"{counts.sum()} training images, {counts.max()} ... {counts.min()} a "
    f"class; classes: {sizes}.",
  ]
  if "test" not in about.accuracy:
    lines.append("The run had not ended: there is no test yet.")
  elif about.test_set:
    lines += ["", *_test_set(about)]
  return "\n".join(lines)


def _rows(split: str, values: Mapping[str, Any]) -> list[str]:
  """The rows of a split: as in a run's table the test has intervals."""

  def row(title: str, cells: Iterable[str], last: str = "") -> str:
    return f"| {split}, {title} | {' | '.join(cells)} | {last} |"

  top1, top5 = (
    [_percent(numbers[group]) for group in GROUPS]
    for numbers in (values, values["top5"])
  )
  rows = [row("top-1", top1, _percent(values.get("macro_f1")))]
  if split == "test" and "interval" in values:
    found = values["interval"]
    rows.append(
      row("95 % interval", (_interval(found.get(group)) for group in GROUPS))
    )
  return [*rows, row("top-5", top5)]


def _test_set(about: Description) -> list[str]:
  """What the test set is, and what the intervals are of, an item each."""
  prior = _code(about.prior) if about.prior else ""
  found = [
    *test_set_lines(
      about.test_set,
      about.accuracy["test"].get("accuracy"),
      num_classes=len(about.class_names),
      prior=prior,
    ),
    *prior_lines(prior),
    "intervals: a bootstrap over the test images of each class; another "
    "training may land outside",
  ]
  return [f"- {line}" for line in found]


def _probabilities(about: Description, folder: pathlib.Path) -> str:
  """Whether the softmax of the logits is calibrated, and how well."""
  lines = ["## Probabilities", ""]
  if about.temperature == 1:
    lines.append(
      "The logits are the network's own: their softmax is not calibrated."
    )
  else:
    own = "(network + logit_offset)" if about.logit_offset else "network"
    lines.append(
      "The softmax of the logits is calibrated: every file here gives "
      f"{own} / {about.temperature:.6g}, the temperature that was "
      "fitted on the validation images."
    )
    if (folder / "model.safetensors").exists():
      lines[-1] += (
        " The tensors of model.safetensors are the network's own, for programs "
        "that load them without blt_jax; its metadata hold the temperature."
      )
  errors = {
    split: (numbers.get("ece"), numbers.get("calibrated", {}).get("ece"))
    for split, numbers in about.accuracy.items()
  }
  if any(before is not None for before, _ in errors.values()):
    lines += [
      "",
      "Calibration error (ECE: the mean difference between a probability and "
      "the share of images that are right, 15 bins; 0 is best):",
      "",
      "| images | network's own | divided by the run's temperature |",
      "|---|---|---|",
      *(
        f"| {split} | {_error(before)} | {_error(after)} |"
        for split, (before, after) in errors.items()
      ),
    ]
  return "\n".join(lines)


def _error(value: float | None) -> str:
  return "-" if value is None else f"{value:.3f}"


def _interval(ends: Sequence[float | None] | None) -> str:
  if ends is None or None in ends:
    return "-"
  return "-".join(map(_percent, ends))


def _percent(value: float | None) -> str:
  return "-" if value is None else f"{value:.1f}"


def _pictures(names: list[str]) -> str:
  links = (
    f"![{pathlib.Path(name).stem.replace('_', ' ')}]({FIGURES}/{name})"
    for name in names
  )
  return "\n\n".join(["## Figures of the run", *links])


def _use(about: Description, folder: pathlib.Path) -> str:
  size, short = about.input_size, about.resize_size
  mean, std = (
    ", ".join(f"{value:g}" for value in values)
    for values in (about.mean, about.std)
  )
  lines = [
    "## Use",
    "",
    f"Images are RGB, the short side resized to {short} pixels "
    f"({about.interpolation}, antialiased), the centre of {size} x {size} "
    "cropped. Networks that take bytes normalise them; others want "
    f"(x / 255 - mean) / std with mean ({mean}) and std ({std}). Layout: "
    f"[n, {size}, {size}, 3].",
    "",
    *_five_crop(about),
  ]
  if (folder / "model.safetensors").exists():
    lines += [
      "    python -m blt_jax --mode=predict --model=. --input=PHOTOS "
      "--output=predictions.csv",
      "",
    ]
  lines += [
    "```python",
    "import pathlib",
    "",
    "import numpy as np",
    "from PIL import Image, ImageOps",
    "",
    'image = Image.open("photo.jpg")',
    *(["image = ImageOps.exif_transpose(image)"] * about.exif_orientation),
    'rgba = image.convert("RGBA")',
    f'image = Image.new("RGB", image.size, {about.background})',
    'image.paste(rgba, mask=rgba.getchannel("A"))',
    f"shape = [{short} * side // min(image.size) for side in image.size]",
    f"weights = Image.Resampling.{about.interpolation.upper()}",
    "# Rows first, in every version of Pillow.",
    "image = image.resize((shape[0], image.height), weights)",
    "image = image.resize(shape, weights)",
    f"left, top = (round((side - {size}) / 2) for side in image.size)",
    f"box = left, top, left + {size}, top + {size}",
    "images = np.asarray(image.crop(box))[None]",
    "```",
    "",
    _deep_grey(about),
  ]
  for file, (title, code) in _USES.items():
    if (folder / file).exists():
      lines += ["", f"{title}:", "", "```python", code, "```"]
  return "\n".join(lines)


def _five_crop(about: Description) -> list[str]:
  """Which views of an image the logits are means of, where it has several."""
  if not about.five_crop:
    return []
  size = about.image_size
  return [
    f"The logits are the mean over five crops of {size} x {size}, the corners "
    "and the centre, which the files here cut out themselves; so large is what "
    "the network itself sees.",
    "",
  ]


def _deep_grey(about: Description) -> str:
  """How grey images of more than 8 bits become 8 bits."""
  if not about.grey_range:
    return (
      "There was no grey image of more than 8 bits in the training; scale such "
      "images to 8 bits as the training images were."
    )
  low, high = about.grey_range
  return (
    f"Of grey images with more than 8 bits, {low:g} is black and {high:g} "
    "white. They need `values = np.asarray(image)` and `image = "
    f"Image.fromarray(np.clip(np.rint((values - ({low!r})) * (255 / "
    f"({high!r} - ({low!r})))), 0, 255).astype(np.uint8))` "
    "before the line of `rgba`."
  )


def _classes(about: Description) -> str:
  names, counts = about.class_names, about.class_counts
  lines = ["## Classes", "", "In the order of the logits"]
  if len(names) > _MOST_NAMES:
    lines[-1] += f" (the first {_MOST_NAMES}; model.json has all)"
  lines[-1] += ", with their training images: " + ", ".join(
    f"{_code(name)} ({count})"
    for name, count in list(zip(names, counts, strict=True))[:_MOST_NAMES]
  )
  return "\n".join(lines) + "."


def _code(name: str) -> str:
  """A name as it stands, whatever Markdown would make of its characters."""
  text = printable(name).replace("`", "'")
  return f"`{text}`"


def _training(about: Description) -> str:
  config = json.dumps(about.config, indent=2)
  return (
    "## Training\n\n"
    "BLT: Kozerawski, Fragoso, Karianakis, Mittal, Turk, Chen. *BLT: Balancing "
    "Long-Tailed Datasets with Adversarially-Perturbed Images*, ACCV 2020. The "
    "configuration of the run:\n\n"
    f"<details>\n\n```json\n{config}\n```\n\n</details>"
  )
